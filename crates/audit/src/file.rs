//! A file, standard output, or nowhere.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::writer::{Output, Unwritten};

/// How much of a file is searched for the end of a chain.
const TAIL: u64 = 4 << 20;

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
    /// Standard error, flushed after each batch.
    Stderr,
    /// Nowhere.
    Discard,
}

/// An opened [`Target`].
pub(crate) struct FileOutput {
    target: Target,
    handle: Handle,
}

enum Handle {
    File(Appended),
    Stream,
}

/// A file that is appended to.
struct Appended {
    file: File,
    /// Where it ends, if it is a regular file: a torn line can be cut off, and what others do to it is noticed.
    length: Option<u64>,
    /// Bytes of unfinished lines behind the last whole one.
    torn: u64,
}

impl FileOutput {
    pub fn open(target: Target) -> io::Result<Self> {
        let handle = Handle::open(&target)?;
        Ok(Self { target, handle })
    }
}

impl Output for FileOutput {
    fn name(&self) -> String {
        match &self.target {
            Target::File { path, .. } => path.display().to_string(),
            Target::Stdout => "standard output".to_owned(),
            Target::Stderr => "standard error".to_owned(),
            Target::Discard => "nothing".to_owned(),
        }
    }

    fn write(&mut self, lines: &[String]) -> Result<(), Unwritten> {
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        match (&mut self.handle, &self.target) {
            (Handle::File(file), Target::File { sync, .. }) => file.append(bytes, lines, *sync),
            (_, Target::Stdout) => Ok(stream(io::stdout().lock(), &bytes)?),
            (_, Target::Stderr) => Ok(stream(io::stderr().lock(), &bytes)?),
            _ => Ok(()),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.handle = Handle::open(&self.target)?;
        Ok(())
    }

    fn tail(&mut self) -> Vec<u8> {
        match (&self.handle, &self.target) {
            (Handle::File(Appended { length: Some(_), .. }), Target::File { path, .. }) => {
                tail(path).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    fn torn(&self) -> u64 {
        if let Handle::File(file) = &self.handle { file.torn } else { 0 }
    }

    fn was_replaced(&mut self) -> bool {
        let Handle::File(Appended { file, length: Some(length), torn }) = &mut self.handle else { return false };
        let Ok(now) = file.metadata() else { return false };
        if now.nlink() == 0 {
            return self.reopen().is_ok();
        }
        let cut = now.len() < *length;
        if cut {
            *torn = 0;
        }
        // It may also have grown: another server on this machine that writes to the same file.
        *length = now.len();
        cut
    }

    fn is_file(&self) -> bool {
        matches!(&self.handle, Handle::File(Appended { length: Some(_), .. }))
    }
}

impl Handle {
    fn open(target: &Target) -> io::Result<Self> {
        let Target::File { path, mode, .. } = target else { return Ok(Self::Stream) };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        safe_folder(parent)?;
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits().cast_signed();
        let file = OpenOptions::new().append(true).create(true).mode(*mode).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if metadata.file_type().is_fifo() || metadata.is_dir() {
            return Err(io::Error::other("not a file"));
        }
        if !metadata.is_file() {
            return Ok(Self::File(Appended { file, length: None, torn: 0 }));
        }
        safe_file(&metadata)?;
        let (length, torn) = (metadata.len(), unfinished(path)?);
        Ok(Self::File(Appended { file, length: Some(length), torn }))
    }
}

/// Nobody else may swap the file: a folder that all may write to must have the sticky bit, as `/tmp` has, or be a volume
/// of its own: Kubernetes mounts volumes that everybody may write to, and who sees them is up to the pod.
fn safe_folder(folder: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(folder)?;
    let mode = metadata.mode();
    let volume = std::fs::metadata(folder.join(".."))?.dev() != metadata.dev();
    if mode & 0o002 != 0 && mode & 0o1000 == 0 && !volume {
        return Err(io::Error::other("everybody may write to its folder: take that right away (chmod o-w)"));
    }
    Ok(())
}

/// A file that was there before is ours, nobody else may write to it, and it is no program.
fn safe_file(metadata: &std::fs::Metadata) -> io::Result<()> {
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(io::Error::other(format!("it belongs to user {}, not to the server's user {us}", metadata.uid())));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(io::Error::other("everybody may write to it: take that right away (chmod o-w)"));
    }
    if metadata.mode() & 0o111 != 0 {
        return Err(io::Error::other("it is executable: take that right away (chmod a-x)"));
    }
    Ok(())
}

impl Appended {
    fn append(&mut self, mut bytes: Vec<u8>, lines: &[String], sync: bool) -> Result<(), Unwritten> {
        let fresh = usize::from(self.torn > 0);
        if fresh > 0 {
            bytes.insert(0, b'\n');
        }
        let done = self.file.write_all(&bytes).and_then(|()| match self.length {
            Some(_) if sync => self.file.sync_data(),
            _ => Ok(()),
        });
        let Some(length) = &mut self.length else { return Ok(done?) };
        let Err(error) = done else {
            *length += bytes.len() as u64;
            self.torn = 0;
            return Ok(());
        };
        // Half a line must not stay: what follows would be glued to it. Where it cannot be cut off, it is remembered.
        if self.file.set_len(*length).is_ok() {
            return Err(error.into());
        }
        let now = self.file.metadata().map_or(*length, |metadata| metadata.len());
        let mut rest = now.saturating_sub(*length);
        let mut landed = 0;
        *length = now;
        if rest > 0 {
            rest -= fresh as u64;
            for line in lines.iter().take_while(|line| {
                let whole = line.len() as u64 + 1;
                let fits = rest >= whole;
                rest -= if fits { whole } else { 0 };
                fits
            }) {
                landed += usize::from(!line.is_empty());
            }
            self.torn = if landed > 0 { rest } else { self.torn + rest };
        }
        Err(Unwritten { error, landed })
    }
}

fn stream(mut out: impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

/// The end of a file.
pub(crate) fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes behind the last line feed.
fn unfinished(path: &Path) -> io::Result<u64> {
    let tail = tail(path)?;
    Ok(tail.iter().rev().take_while(|byte| **byte != b'\n').count() as u64)
}
