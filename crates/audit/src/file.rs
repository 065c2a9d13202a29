//! The file sink: one thread per file that writes what has gathered in one go and syncs it once, so that many requests
//! share one `fdatasync` and none is answered before its line is on the disk.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::{Record, Sink, SinkError};

/// Lines that may wait for the disk.
const QUEUE: usize = 8192;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file: created with `mode` if absent, appended to, never through a symbolic link.
    File {
        /// Its path.
        path: PathBuf,
        /// Permissions of a new file; 0600 unless told otherwise.
        mode: u32,
        /// Sync before answering? Without it a crash of the machine, not of the process, may lose the last lines.
        sync: bool,
    },
    /// Standard output, flushed after each batch.
    Stdout,
    /// Nowhere.
    Discard,
}

/// Sends lines to the thread of one [`Target`].
pub struct FileSink {
    queue: mpsc::Sender<Job>,
}

enum Job {
    Write(String, oneshot::Sender<Result<(), SinkError>>),
    Reopen(oneshot::Sender<Result<(), SinkError>>),
}

struct Writer {
    target: Target,
    prefix: String,
    output: Output,
}

enum Output {
    /// With its length if it is a regular file, so that a torn line can be cut off.
    File(File, Option<u64>),
    Stdout,
    Discard,
}

// === impl FileSink ===

impl FileSink {
    /// Opens the target and starts its thread. `prefix` stands before every line. The thread ends with the sink.
    pub fn open(target: Target, prefix: String) -> Result<Self, SinkError> {
        let output = Output::open(&target)?;
        let writer = Writer { target, prefix, output };
        let (queue, jobs) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|error| io_error("start the writer".to_owned(), &error))?;
        Ok(Self { queue })
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<Result<(), SinkError>>) -> Job) -> Result<(), SinkError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(job(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SinkError::Full,
            mpsc::error::TrySendError::Closed(_) => SinkError::Ended,
        })?;
        answered.await.unwrap_or(Err(SinkError::Ended))
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn write(&self, record: Record) -> Result<(), SinkError> {
        self.ask(|answer| Job::Write(record.line().to_owned(), answer)).await
    }

    async fn reopen(&self) -> Result<(), SinkError> {
        self.ask(Job::Reopen).await
    }
}

// === impl Writer ===

impl Writer {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut batch = Vec::new();
        while jobs.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let mut bytes = Vec::new();
            let mut waiting = Vec::new();
            for job in batch.drain(..) {
                match job {
                    Job::Write(line, answer) => {
                        bytes.extend_from_slice(self.prefix.as_bytes());
                        bytes.extend_from_slice(line.as_bytes());
                        bytes.push(b'\n');
                        waiting.push(answer);
                    }
                    Job::Reopen(answer) => {
                        self.finish(&mut bytes, &mut waiting);
                        let reopened = Output::open(&self.target).map(|output| self.output = output);
                        let _ = answer.send(reopened);
                    }
                }
            }
            self.finish(&mut bytes, &mut waiting);
        }
    }

    fn finish(&mut self, bytes: &mut Vec<u8>, waiting: &mut Vec<oneshot::Sender<Result<(), SinkError>>>) {
        if waiting.is_empty() {
            return;
        }
        let written = self.write(bytes);
        for answer in waiting.drain(..) {
            // Nobody waits any more when the request was given up; the line is written all the same.
            let _ = answer.send(match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(io_error(self.target.describe("write"), error)),
            });
        }
        bytes.clear();
    }

    /// Once more on a newly opened file if the first attempt fails: the file may have been taken away.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sync = matches!(self.target, Target::File { sync: true, .. });
        let Err(first) = self.output.write(bytes, sync) else { return Ok(()) };
        self.output = Output::open(&self.target).map_err(|_| first)?;
        self.output.write(bytes, sync)
    }
}

// === impl Output ===

impl Output {
    fn open(target: &Target) -> Result<Self, SinkError> {
        let Target::File { path, mode, .. } = target else {
            return Ok(if *target == Target::Stdout { Self::Stdout } else { Self::Discard });
        };
        let fail = |error: io::Error| io_error(target.describe("open"), &error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fail)?;
        }
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits().cast_signed();
        let options = OpenOptions::new().append(true).create(true).mode(*mode).custom_flags(flags).clone();
        let file = options.open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.file_type().is_fifo() || metadata.is_dir() {
            return Err(fail(io::Error::other("not a file")));
        }
        Ok(Self::File(file, metadata.is_file().then_some(metadata.len())))
    }

    fn write(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        match self {
            Self::File(file, length) => {
                let done = file.write_all(bytes).and_then(|()| match length {
                    Some(_) if sync => file.sync_data(),
                    _ => Ok(()),
                });
                let Some(length) = length else { return done };
                match done {
                    Ok(()) => *length += bytes.len() as u64,
                    // Half a line must not stay: what follows would be glued to it.
                    Err(_) => file.set_len(*length)?,
                }
                done
            }
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Discard => Ok(()),
        }
    }
}

impl Target {
    fn describe(&self, verb: &str) -> String {
        match self {
            Self::File { path, .. } => format!("{verb} {}", path.display()),
            Self::Stdout => format!("{verb} standard output"),
            Self::Discard => format!("{verb} nothing"),
        }
    }
}

fn io_error(what: String, error: &io::Error) -> SinkError {
    SinkError::Io { what, reason: error.to_string() }
}
