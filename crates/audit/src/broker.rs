//! All devices together, and the rule that nothing happens unaudited.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{sync::mpsc, time::Instant};

use crate::{Device, Hasher, OpenError, Record, RequestEntry, ResponseEntry, SinkError};

/// Hands entries to every device and fails unless one has the entry safely.
///
/// All devices get every entry at once. The answer waits for all of them, but no longer than the time limit; a device
/// that missed it is not waited for again until it has answered, as long as another one accepts.
pub struct Broker {
    devices: RwLock<BTreeMap<String, Arc<Slot>>>,
    limit: Duration,
}

struct Slot {
    device: Device,
    /// Did it miss its time limit, and has it not answered since?
    stalled: AtomicBool,
}

/// Which entry could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was done.
    Request,
    /// It was done; the answer must not leave.
    Response,
}

/// No device took the entry.
#[derive(Debug, thiserror::Error)]
#[error("no audit device took the {stage} entry: {reason}")]
pub struct LogError {
    /// Which one.
    pub stage: Stage,
    /// What the devices said, by name; for the server's log.
    pub reason: String,
}

impl Default for Broker {
    fn default() -> Self {
        Self::new(Duration::from_secs(5))
    }
}

impl Broker {
    /// Without devices: then every entry is accepted and goes nowhere. `limit` is how long a device may take.
    pub fn new(limit: Duration) -> Self {
        Self { devices: RwLock::default(), limit }
    }

    /// Adds a device after it took a test line.
    pub async fn enable(&self, device: Device, test: &RequestEntry<'_>) -> Result<(), OpenError> {
        if self.devices.read().contains_key(device.path()) {
            return Err(OpenError::InUse);
        }
        let record = encode(device.hasher.request(test)).map_err(OpenError::Sink)?;
        let tested = tokio::time::timeout(self.limit, device.sink.write(record)).await;
        tested.unwrap_or_else(|_| Err(slow(self.limit)))?;
        self.insert(device)
    }

    /// Adds a device without test, as at unseal: one that fails then must not keep the server sealed.
    pub fn insert(&self, device: Device) -> Result<(), OpenError> {
        let mut devices = self.devices.write();
        if devices.contains_key(device.path()) {
            return Err(OpenError::InUse);
        }
        devices.insert(device.path.clone(), Arc::new(Slot { device, stalled: AtomicBool::new(false) }));
        Ok(())
    }

    /// Takes a device away; false if there is none of this name.
    pub fn disable(&self, path: &str) -> bool {
        self.devices.write().remove(&name(path)).is_some()
    }

    /// Takes all devices away, as at sealing.
    pub fn clear(&self) {
        self.devices.write().clear();
    }

    /// Names of the devices.
    pub fn paths(&self) -> Vec<String> {
        self.devices.read().keys().cloned().collect()
    }

    /// The hash of a text on one device, for `sys/audit-hash`; `None` if there is no such device.
    pub fn hash(&self, path: &str, input: &str) -> Option<String> {
        self.devices.read().get(&name(path)).map(|slot| slot.device.hasher.hash(input))
    }

    /// Writes the entry of a request. On error nothing may be done (500).
    pub async fn log_request(&self, entry: &RequestEntry<'_>) -> Result<(), LogError> {
        self.log(Stage::Request, |hasher| hasher.request(entry)).await
    }

    /// Writes the entry of an answer. On error the answer must not leave, and what was made for it is to be undone.
    pub async fn log_response(&self, entry: &ResponseEntry<'_>) -> Result<(), LogError> {
        self.log(Stage::Response, |hasher| hasher.response(entry)).await
    }

    /// Opens every target again (SIGHUP). The errors, by device.
    pub async fn reopen(&self) -> Vec<(String, SinkError)> {
        let slots: Vec<_> = self.devices.read().values().cloned().collect();
        let mut errors = Vec::new();
        for slot in slots {
            let reopened = tokio::time::timeout(self.limit, slot.device.sink.reopen()).await;
            if let Err(error) = reopened.unwrap_or_else(|_| Err(slow(self.limit))) {
                errors.push((slot.device.path.clone(), error));
            }
        }
        errors
    }

    async fn log(
        &self,
        stage: Stage,
        record: impl Fn(&Hasher) -> Result<Record, serde_json::Error>,
    ) -> Result<(), LogError> {
        let slots: Vec<_> = self.devices.read().values().cloned().collect();
        if slots.is_empty() {
            return Ok(());
        }
        let (answers, mut answered) = mpsc::unbounded_channel();
        let mut healthy = 0usize;
        let mut refused = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            match encode(record(&slot.device.hasher)) {
                Ok(record) => {
                    let was_healthy = !slot.stalled.load(Ordering::Relaxed);
                    healthy += usize::from(was_healthy);
                    spawn_write(slot.clone(), (index, was_healthy), record, answers.clone());
                }
                Err(error) => refused.push(format!("{}: {error}", slot.device.path)),
            }
        }
        drop(answers);
        let deadline = Instant::now() + self.limit;
        let (mut accepted, mut heard) = (false, vec![false; slots.len()]);
        while !(accepted && healthy == 0) {
            let Ok(answer) = tokio::time::timeout_at(deadline, answered.recv()).await else { break };
            let Some((index, was_healthy, written)) = answer else { break };
            healthy = healthy.saturating_sub(usize::from(was_healthy));
            heard[index] = true;
            match written {
                Ok(()) => accepted = true,
                Err(error) => refused.push(format!("{}: {error}", slots[index].device.path)),
            }
        }
        if healthy > 0 || !accepted {
            for (slot, _) in slots.iter().zip(&heard).filter(|(_, heard)| !**heard) {
                if !slot.stalled.swap(true, Ordering::Relaxed) {
                    tracing::error!(device = slot.device.path, limit = ?self.limit, "audit device does not answer");
                }
                refused.push(format!("{}: {}", slot.device.path, slow(self.limit)));
            }
        }
        for refusal in &refused {
            tracing::error!(%stage, refusal, "audit device did not take an entry");
        }
        if accepted { Ok(()) } else { Err(LogError { stage, reason: refused.join("; ") }) }
    }
}

/// In a task of its own: the line must reach the writer even when the request is given up.
fn spawn_write(
    slot: Arc<Slot>,
    (index, was_healthy): (usize, bool),
    record: Record,
    answers: mpsc::UnboundedSender<(usize, bool, Result<(), SinkError>)>,
) {
    tokio::spawn(async move {
        let written = slot.device.sink.write(record).await;
        slot.stalled.store(false, Ordering::Relaxed);
        let _ = answers.send((index, was_healthy, written));
    });
}

fn encode(record: Result<Record, serde_json::Error>) -> Result<Record, SinkError> {
    record.map_err(|error| SinkError::Io { what: "encode the entry".to_owned(), reason: error.to_string() })
}

fn slow(limit: Duration) -> SinkError {
    SinkError::Io { what: "write".to_owned(), reason: format!("no answer within {limit:?}") }
}

fn name(path: &str) -> String {
    format!("{}/", path.trim_matches('/'))
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
        })
    }
}
