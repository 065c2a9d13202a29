//! What clients asked, when, and what they were told.

use std::{io::Write, path::Path, time::Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was refused: another version is there, the thing is used up or revoked.
    Refused,
    /// Nothing, or that nobody knows. It may take effect at any later time, or never.
    Unknown,
}

/// What is asked of a register or of a thing with uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Register: version and value.
    #[default]
    Read,
    /// Register: a new version.
    Write,
    /// Register: a new version if `cas` is the current one.
    Cas,
    /// A thing with `limit` uses is there from now on; -1: until it is revoked.
    Make,
    /// One use less, refused if none is left.
    Use,
    /// No use is left.
    Revoke,
}

/// One request, as the checker reads it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Request {
    /// What it is about; histories of different keys are judged separately.
    pub key: String,
    /// What is asked.
    pub action: Action,
    /// The version that must be current.
    pub cas: u64,
    /// What is written or was read.
    pub value: String,
    /// Of the thing made.
    pub limit: i64,
    /// The version that was read or made.
    pub version: u64,
}

#[derive(Serialize)]
struct Operation {
    #[serde(flatten)]
    request: Request,
    client: usize,
    /// Nanoseconds since the start.
    call: i64,
    /// The same; -1 if it may still take effect.
    #[serde(rename = "return")]
    ret: i64,
    outcome: Outcome,
}

/// All requests of a run.
pub struct History {
    start: Instant,
    operations: Mutex<Vec<Operation>>,
    rate: Mutex<Option<f64>>,
}

/// How many requests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Done.
    pub ok: usize,
    /// Refused.
    pub refused: usize,
    /// Nobody knows.
    pub unknown: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { start: Instant::now(), operations: Mutex::default(), rate: Mutex::default() }
    }
}

impl History {
    /// Nanoseconds since the start, of one clock for all clients.
    pub fn now(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// A request that was sent at `call` and has ended just now.
    pub fn record(&self, client: usize, call: i64, request: Request, outcome: Outcome) {
        // A read whose answer is lost says nothing about anything.
        if outcome == Outcome::Unknown && request.action == Action::Read {
            return;
        }
        let ret = if outcome == Outcome::Unknown { -1 } else { self.now() };
        self.operations.lock().push(Operation { request, client, call, ret, outcome });
    }

    /// The faults begin now: remembers how many requests a second there were.
    pub fn mark_rate(&self) {
        *self.rate.lock() = Some(self.rate_so_far());
    }

    /// Requests a second before the faults, or at all if there were none.
    pub fn rate(&self) -> f64 {
        let marked = *self.rate.lock();
        marked.unwrap_or_else(|| self.rate_so_far())
    }

    fn rate_so_far(&self) -> f64 {
        self.operations.lock().len() as f64 / self.start.elapsed().as_secs_f64()
    }

    /// How many requests ended how.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for operation in self.operations.lock().iter() {
            match operation.outcome {
                Outcome::Ok => count.ok += 1,
                Outcome::Refused => count.refused += 1,
                Outcome::Unknown => count.unknown += 1,
            }
        }
        count
    }

    /// One JSON document for each request.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        for operation in self.operations.lock().iter() {
            serde_json::to_writer(&mut out, operation)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }
}

impl Count {
    /// All of them.
    pub fn total(&self) -> usize {
        self.ok + self.refused + self.unknown
    }
}
