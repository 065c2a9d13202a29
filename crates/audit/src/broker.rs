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

use holdfast_base::Milestone;
use parking_lot::RwLock;
use tokio::{sync::mpsc, time::Instant};

use crate::{Device, Hasher, OpenError, Record, RequestEntry, ResponseEntry, SinkError};

/// Hands entries to every device and fails unless enough of them have the entry safely: all that are marked as required, or,
/// where none is, one.
///
/// All devices get every entry at once. A device that does not answer in time is *down*: it still gets every entry that fits
/// its queue, but nobody waits for it until it has answered.
pub struct Broker {
    devices: RwLock<BTreeMap<String, Arc<Slot>>>,
    limit: Duration,
    observer: Arc<dyn Observer>,
}

/// Is told how devices do.
pub trait Observer: Send + Sync + 'static {
    /// A device took an entry, or did not.
    fn wrote(&self, device: &str, stage: Stage, ok: bool, took: Duration);

    /// A device was enabled or answers again, or does not answer in time.
    fn health(&self, device: &str, up: bool);

    /// A device was taken away.
    fn gone(&self, device: &str);
}

/// Nobody looks.
impl Observer for () {
    fn wrote(&self, _: &str, _: Stage, _: bool, _: Duration) {}
    fn health(&self, _: &str, _: bool) {}
    fn gone(&self, _: &str) {}
}

/// How long others are waited for once one device has the entry.
const GRACE: Duration = Duration::from_millis(500);

/// How long a device may take.
const LIMIT: Duration = Duration::from_secs(5);

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

/// Not enough devices took the entry.
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
        Self::new(LIMIT, Arc::new(()))
    }
}

impl Broker {
    /// Without devices: then every entry is accepted and goes nowhere. `limit` is how long a device may take.
    pub fn new(limit: Duration, observer: Arc<dyn Observer>) -> Self {
        Self { devices: RwLock::default(), limit, observer }
    }

    /// With the usual limit.
    pub fn observed(observer: Arc<dyn Observer>) -> Self {
        Self::new(LIMIT, observer)
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
        self.observer.health(device.path(), true);
        devices.insert(device.path.clone(), Arc::new(Slot { device, stalled: AtomicBool::new(false) }));
        Ok(())
    }

    /// Takes a device away; false if there is none of this name.
    pub fn disable(&self, path: &str) -> bool {
        let removed = self.devices.write().remove(&name(path));
        if let Some(slot) = &removed {
            self.observer.gone(slot.device.path());
        }
        removed.is_some()
    }

    /// Takes all devices away.
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

    /// Writes a line that was hashed before, to all devices but these.
    pub async fn log_record(&self, stage: Stage, record: &Record, but: &[String]) -> Result<(), LogError> {
        let slots: Vec<_> = self.slots().into_iter().filter(|slot| !but.contains(&slot.device.path)).collect();
        self.write(stage, slots, |_| Ok(record.clone())).await
    }

    /// Opens every target again (SIGHUP). The errors, by device.
    pub async fn reopen(&self) -> Vec<(String, SinkError)> {
        self.each(|slot| async move { slot.device.sink.reopen().await }).await
    }

    /// Waits until all that was given is written, and writes a checkpoint behind it. `store` is how far the store has come, if
    /// that is news. The errors, by device.
    pub async fn checkpoint(&self, store: Option<Milestone>) -> Vec<(String, SinkError)> {
        self.each(|slot| async move { slot.device.sink.checkpoint(store).await }).await
    }

    async fn each<F>(&self, what: impl Fn(Arc<Slot>) -> F) -> Vec<(String, SinkError)>
    where
        F: Future<Output = Result<(), SinkError>>,
    {
        let mut errors = Vec::new();
        for slot in self.slots() {
            let done = tokio::time::timeout(self.limit, what(slot.clone())).await;
            if let Err(error) = done.unwrap_or_else(|_| Err(slow(self.limit))) {
                errors.push((slot.device.path.clone(), error));
            }
        }
        errors
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.devices.read().values().cloned().collect()
    }

    async fn log(
        &self,
        stage: Stage,
        record: impl Fn(&Hasher) -> Result<Record, serde_json::Error>,
    ) -> Result<(), LogError> {
        self.write(stage, self.slots(), |slot| record(&slot.device.hasher)).await
    }

    async fn write(
        &self,
        stage: Stage,
        slots: Vec<Arc<Slot>>,
        record: impl Fn(&Slot) -> Result<Record, serde_json::Error>,
    ) -> Result<(), LogError> {
        if slots.is_empty() {
            return Ok(());
        }
        let (answers, mut answered) = mpsc::unbounded_channel();
        let mut tally = Tally::of(&slots);
        for (index, slot) in slots.iter().enumerate() {
            match encode(record(slot)) {
                Ok(record) => self.spawn_write(stage, (index, slot.clone()), record, answers.clone()),
                Err(error) => tally.heard(index, &slots[index], Err(error)),
            }
        }
        drop(answers);
        let limit = Instant::now() + self.limit;
        let mut deadline = limit;
        while !tally.is_decided() {
            let Ok(Some((index, written))) = tokio::time::timeout_at(deadline, answered.recv()).await else { break };
            tally.heard(index, &slots[index], written);
            if tally.accepted {
                deadline = deadline.min(Instant::now() + GRACE);
            }
        }
        if !tally.is_decided() {
            let mut refused = Vec::new();
            let silent: Vec<_> = slots.iter().zip(&tally.answers).filter(|(_, heard)| !**heard).collect();
            for (slot, _) in silent {
                mark_stalled(slot, self.observer.as_ref());
                refused.push(format!("{}: {}", slot.device.path, slow(self.limit)));
            }
            tally.refused.extend(refused);
        }
        for refusal in &tally.refused {
            tracing::error!(%stage, refusal, "audit device did not take an entry");
        }
        if tally.suffices() { Ok(()) } else { Err(LogError { stage, reason: tally.refused.join("; ") }) }
    }

    /// In a task of its own: the line must reach the writer even when the request is given up.
    fn spawn_write(
        &self,
        stage: Stage,
        (index, slot): (usize, Arc<Slot>),
        record: Record,
        answers: mpsc::UnboundedSender<(usize, Result<(), SinkError>)>,
    ) {
        let (observer, limit) = (self.observer.clone(), self.limit);
        tokio::spawn(async move {
            let begin = Instant::now();
            let mut write = slot.device.sink.write(record);
            let written = match tokio::time::timeout(limit, &mut write).await {
                Ok(written) => written,
                Err(_) => {
                    mark_stalled(&slot, observer.as_ref());
                    write.await
                }
            };
            if !matches!(written, Err(SinkError::Full)) && slot.stalled.swap(false, Ordering::Relaxed) {
                tracing::info!(device = slot.device.path, "audit device answers again");
                observer.health(&slot.device.path, true);
            }
            observer.wrote(&slot.device.path, stage, written.is_ok(), begin.elapsed());
            let _ = answers.send((index, written));
        });
    }
}

fn mark_stalled(slot: &Slot, observer: &dyn Observer) {
    if !slot.stalled.swap(true, Ordering::Relaxed) {
        tracing::error!(device = slot.device.path, "audit device does not answer in time; nobody waits for it now");
        observer.health(&slot.device.path, false);
    }
}

/// Who has answered so far.
struct Tally {
    answers: Vec<bool>,
    required: Vec<bool>,
    /// Devices that are still waited for.
    awaited: Vec<bool>,
    accepted: bool,
    /// Has a required device refused?
    failed: bool,
    refused: Vec<String>,
}

impl Tally {
    /// Where devices are marked as required, only they are waited for; else all that are not known to be stalled.
    fn of(slots: &[Arc<Slot>]) -> Self {
        let required: Vec<bool> = slots.iter().map(|slot| slot.device.required).collect();
        let any = required.contains(&true);
        let awaited = slots
            .iter()
            .map(|slot| if any { slot.device.required } else { !slot.stalled.load(Ordering::Relaxed) })
            .collect();
        Self {
            answers: vec![false; slots.len()],
            required,
            awaited,
            accepted: false,
            failed: false,
            refused: Vec::new(),
        }
    }

    fn heard(&mut self, index: usize, slot: &Slot, written: Result<(), SinkError>) {
        (self.answers[index], self.awaited[index]) = (true, false);
        match written {
            Ok(()) => self.accepted |= !self.has_required(),
            Err(error) => {
                self.failed |= self.required[index];
                self.refused.push(format!("{}: {error}", slot.device.path));
            }
        }
        if self.has_required() && !self.failed {
            self.accepted = self.required.iter().zip(&self.answers).all(|(required, heard)| !required || *heard);
        }
    }

    fn has_required(&self) -> bool {
        self.required.contains(&true)
    }

    /// Is nobody left who could matter?
    fn is_decided(&self) -> bool {
        self.failed || self.answers.iter().all(|heard| *heard) || (self.accepted && !self.awaited.contains(&true))
    }

    fn suffices(&self) -> bool {
        self.accepted && !self.failed
    }
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
