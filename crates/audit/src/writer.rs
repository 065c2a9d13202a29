//! One thread per device: it takes what has gathered, gives each line its place in the chain, writes it in one go and only
//! then answers, so that many requests share one write and one `fdatasync`, and none is answered before its line is safe.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use holdfast_base::Milestone;
use tokio::sync::{mpsc, oneshot};

use crate::{
    ChainSpec, Record, Sink, SinkError,
    chain::{Chain, Mark, Origin},
    device::OpenError,
};

/// Lines that may wait.
const QUEUE: usize = 8192;
/// Bytes that may wait.
const QUEUE_BYTES: usize = 16 << 20;

/// Where a thread writes to.
pub(crate) trait Output: Send + 'static {
    /// For messages: `/var/log/audit.log`.
    fn name(&self) -> String;

    /// Makes all lines as durable as it can, or none.
    fn write(&mut self, lines: &[String]) -> Result<(), Unwritten>;

    /// Opens the target again.
    fn reopen(&mut self) -> io::Result<()>;

    /// The end of what is there already, to be searched for the last line of a chain.
    fn tail(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Bytes of unfinished lines at the end, without line feeds. The next write begins on a line of its own.
    fn torn(&self) -> u64 {
        0
    }

    /// Was the target taken away or cut off since the last write? Then it is open anew after this call.
    fn was_replaced(&mut self) -> bool {
        false
    }

    /// Does a rotation make a new file?
    fn is_file(&self) -> bool {
        false
    }
}

/// A write that failed.
pub(crate) struct Unwritten {
    pub error: io::Error,
    /// Whole lines that are there nevertheless.
    pub landed: usize,
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self { error, landed: 0 }
    }
}

/// Sends lines to the thread of one output.
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

enum Job {
    Write(Record, Answer),
    Reopen(Answer),
    Checkpoint(Option<Milestone>, Answer),
}

type Answer = oneshot::Sender<Result<(), SinkError>>;

struct Thread<O> {
    output: O,
    chain: Option<(Chain, ChainSpec)>,
    /// To be written before the next line.
    marks: Vec<Mark>,
    waiting: Arc<AtomicUsize>,
}

// === impl Writer ===

impl Writer {
    /// Starts the thread; it ends with the writer, after a last checkpoint.
    pub fn start(output: impl Output, chain: Option<ChainSpec>) -> Result<Self, OpenError> {
        let chain = match chain {
            Some(spec) => Some((Chain::new(&spec).ok_or(OpenError::ChainKey)?, spec)),
            None => None,
        };
        let (queue, jobs) = mpsc::channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = Thread { output, chain, marks: Vec::new(), waiting: waiting.clone() };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || thread.run(jobs))
            .map_err(|error| io_error("start the writer", &error))?;
        Ok(Self { queue, waiting })
    }

    async fn ask(&self, job: impl FnOnce(Answer) -> Job) -> Result<(), SinkError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(job(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SinkError::Full,
            mpsc::error::TrySendError::Closed(_) => SinkError::Ended,
        })?;
        answered.await.unwrap_or(Err(SinkError::Ended))
    }
}

#[async_trait]
impl Sink for Writer {
    async fn write(&self, record: Record) -> Result<(), SinkError> {
        let size = record.line().len();
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > QUEUE_BYTES.max(size) {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            return Err(SinkError::Full);
        }
        let sent = self.ask(|answer| Job::Write(record, answer)).await;
        if matches!(sent, Err(SinkError::Full | SinkError::Ended)) {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
        }
        sent
    }

    async fn reopen(&self) -> Result<(), SinkError> {
        self.ask(Job::Reopen).await
    }

    async fn checkpoint(&self, store: Option<Milestone>) -> Result<(), SinkError> {
        self.ask(|answer| Job::Checkpoint(store, answer)).await
    }
}

// === impl Thread ===

impl<O: Output> Thread<O> {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.begin();
        let mut batch = Vec::new();
        while jobs.blocking_recv_many(&mut batch, QUEUE) > 0 {
            let (mut records, mut answers) = (Vec::new(), Vec::new());
            for job in batch.drain(..) {
                match job {
                    Job::Write(record, answer) => {
                        self.waiting.fetch_sub(record.line().len(), Ordering::Relaxed);
                        records.push(record);
                        answers.push(answer);
                    }
                    Job::Reopen(answer) => {
                        self.finish(&mut records, &mut answers);
                        let _ = answer.send(self.reopen());
                    }
                    Job::Checkpoint(store, answer) => {
                        self.finish(&mut records, &mut answers);
                        if let (Some((chain, _)), Some(store)) = (&mut self.chain, store) {
                            chain.tell(store);
                        }
                        let _ = answer.send(self.write(&[], true));
                    }
                }
            }
            self.finish(&mut records, &mut answers);
        }
        if let Err(error) = self.write(&[], true) {
            tracing::warn!(%error, "an audit device ends without a checkpoint");
        }
    }

    /// The first line. What cannot be written now comes before the first entry.
    fn begin(&mut self) {
        let torn = self.output.torn();
        let Some((_, spec)) = &self.chain else { return };
        let found = last_of(&self.output.tail(), &spec.id.node, &spec.id.device);
        let origin = Origin { previous: found, stored: spec.stored.clone(), torn };
        self.marks.push(Mark::Start(Box::new(origin)));
        if let Err(error) = self.write(&[], false) {
            tracing::warn!(%error, "an audit device takes nothing yet");
        }
    }

    fn finish(&mut self, records: &mut Vec<Record>, answers: &mut Vec<Answer>) {
        if answers.is_empty() {
            return;
        }
        let written = self.write(records, false);
        records.clear();
        for answer in answers.drain(..) {
            // Nobody waits any more when the request was given up; the line is written all the same.
            let _ = answer.send(match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(error.duplicate()),
            });
        }
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.output.reopen().map_err(|error| self.error("open", &error))?;
        if self.output.is_file() && self.chain.is_some() {
            self.marks.push(Mark::Rotate);
            self.write(&[], false)?;
        }
        Ok(())
    }

    /// Writes the marks that wait, then the records, then a checkpoint if one is wanted or due. Once more on a newly opened
    /// target if nothing of the first attempt is there: the target may have been taken away.
    fn write(&mut self, records: &[Record], checkpoint: bool) -> Result<(), SinkError> {
        if self.output.was_replaced() && self.chain.is_some() {
            tracing::warn!(target = self.output.name(), "the audit file was replaced or cut off by somebody else");
            self.marks.push(Mark::Rotate);
        }
        match self.attempt(records, checkpoint) {
            Ok(()) => Ok(()),
            Err(first) if first.landed > 0 || self.output.torn() > 0 || is_slow(&first.error) => {
                Err(self.error("write", &first.error))
            }
            Err(first) => match self.output.reopen() {
                Ok(()) => self.attempt(records, checkpoint).map_err(|second| self.error("write", &second.error)),
                Err(_) => Err(self.error("write", &first.error)),
            },
        }
    }

    fn attempt(&mut self, records: &[Record], checkpoint: bool) -> Result<(), Unwritten> {
        let torn = self.output.torn();
        let Some((chain, spec)) = &mut self.chain else {
            let lines: Vec<String> = records.iter().map(|record| record.line().to_owned()).collect();
            return if lines.is_empty() { Ok(()) } else { self.output.write(&lines) };
        };
        let before = chain.clone();
        let told = self.marks.iter().any(|mark| matches!(mark, Mark::Start(_)));
        let mut heads = Vec::new();
        let mut lines = Vec::new();
        if torn > 0 && !told {
            lines.push(chain.mark(&Mark::Recovery { torn }));
        }
        lines.extend(self.marks.iter().map(|mark| chain.mark(mark)));
        if told {
            heads.push(chain.head());
        }
        for record in records {
            lines.push(chain.stamp(record));
            if chain.is_due() {
                lines.extend(chain.checkpoint());
                heads.push(chain.head());
            }
        }
        if checkpoint && let Some(line) = chain.checkpoint() {
            lines.push(line);
            heads.push(chain.head());
        }
        if lines.is_empty() {
            return Ok(());
        }
        match self.output.write(&lines) {
            Ok(()) => {
                self.marks.clear();
                for head in heads {
                    // Nobody listens when the server is going down.
                    let _ = spec.heads.send(head);
                }
                Ok(())
            }
            Err(failed) => {
                // What is there counts: the chain goes on behind it.
                *chain = chain.replay(before, &lines[..failed.landed.min(lines.len())]);
                if failed.landed > 0 {
                    self.marks.clear();
                }
                Err(failed)
            }
        }
    }

    fn error(&self, verb: &str, error: &io::Error) -> SinkError {
        io_error(&format!("{verb} {}", self.output.name()), error)
    }
}

/// Somebody is there who does not read: a second attempt would wait as long.
fn is_slow(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

pub(crate) fn io_error(what: &str, error: &io::Error) -> SinkError {
    SinkError::Io { what: what.to_owned(), reason: error.to_string() }
}

/// The last line of a device's chains on this node.
fn last_of(tail: &[u8], node: &str, device: &str) -> Option<crate::Head> {
    let text = String::from_utf8_lossy(tail);
    text.lines()
        .rev()
        .find_map(|line| crate::verify::head_of(line).filter(|h| h.id.node == node && h.id.device == device))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_base::ManualClock;
    use holdfast_secret::SecretBytes;
    use parking_lot::Mutex;

    use super::*;
    use crate::{ChainId, Kind, Known, Log, Signer};

    /// A disk that fills up in the middle of a line that nobody can cut off again.
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        /// Bytes that still fit; `None` for any number.
        room: Arc<Mutex<Option<usize>>>,
        torn: u64,
    }

    impl Output for Disk {
        fn name(&self) -> String {
            "disk".to_owned()
        }

        fn write(&mut self, lines: &[String]) -> Result<(), Unwritten> {
            let mut text: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let fresh = usize::from(self.torn > 0);
            if fresh > 0 {
                text.insert(0, b'\n');
            }
            let mut bytes = self.bytes.lock();
            let room = *self.room.lock();
            let Some(room) = room.filter(|room| *room < text.len()) else {
                bytes.extend(text);
                self.torn = 0;
                return Ok(());
            };
            text.truncate(room);
            let landed = text.iter().filter(|byte| **byte == b'\n').count() - fresh;
            let rest = text.iter().rev().take_while(|byte| **byte != b'\n').count() as u64;
            self.torn = if landed > 0 { rest } else { self.torn + rest };
            bytes.extend(text);
            Err(Unwritten { error: io::Error::from(io::ErrorKind::StorageFull), landed })
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn torn(&self) -> u64 {
            self.torn
        }
    }

    #[tokio::test]
    async fn a_disk_that_fills_up_in_a_line_leaves_a_chain_that_goes_on() {
        let (bytes, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
        let (heads, _told) = mpsc::unbounded_channel();
        let signer = Arc::new(Signer::new(&SecretBytes::new(vec![9; 32])).unwrap());
        let key = signer.public_key();
        let chain = ChainSpec {
            id: ChainId { node: "n".to_owned(), device: "d/".to_owned(), epoch: "1".to_owned() },
            key: SecretBytes::new(vec![7; 32]),
            signer: Some(signer),
            clock: Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap())),
            heads,
            stored: None,
        };
        let disk = Disk { bytes: bytes.clone(), room: room.clone(), torn: 0 };
        let writer = Writer::start(disk, Some(chain)).unwrap();
        let record = || Record::own(r#"{"time":"2026-01-01T00:00:00Z","type":"request"}"#.to_owned());
        writer.write(record()).await.unwrap();
        // Half a line; then the whole of one and half of the next.
        *room.lock() = Some(100);
        writer.write(record()).await.unwrap_err();
        // Once more, in the line that tells of the first.
        writer.write(record()).await.unwrap_err();
        *room.lock() = Some(800);
        let batch = futures_of(&writer, [record(), record(), record()]).await;
        assert!(batch.iter().any(Result::is_err));
        *room.lock() = None;
        writer.write(record()).await.unwrap();
        writer.checkpoint(None).await.unwrap();
        let log = Log::of(vec![("log".to_owned(), bytes.lock().clone())]);
        let report = log.verify(&Known { public_key: Some(key.clone()), ..Known::default() });
        assert!(report.ok && report.notes.iter().any(|note| note.contains("unfinished")), "{report:#?}");
        // And what is done to it is found all the same.
        let text = String::from_utf8(bytes.lock().clone()).unwrap().replacen("\"seq\":2", "\"seq\":9", 1);
        let report = Log::of(vec![("log".to_owned(), text.into_bytes())])
            .verify(&Known { public_key: Some(key), ..Known::default() });
        assert!(report.findings.iter().any(|finding| finding.kind == Kind::Missing), "{report:#?}");
    }

    async fn futures_of(writer: &Writer, records: [Record; 3]) -> Vec<Result<(), SinkError>> {
        let [a, b, c] = records;
        let (a, b, c) = tokio::join!(writer.write(a), writer.write(b), writer.write(c));
        vec![a, b, c]
    }
}
