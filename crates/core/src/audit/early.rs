//! What happens before there are keys: init, unseal, and all that is asked of a sealed server and changes something.
//!
//! Devices of the configuration take it at once, under a hash key and in a chain that live as long as the server stays
//! sealed: hashes of a sealed server cannot be compared, and its chain is vouched for by the next start, which names its
//! end. Devices of the stored table are not known yet: for them, entries are kept here, hashed already, and handed over when
//! such a device is open. What does not fit is counted, and the count is handed over too.

mod kept;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use holdfast_audit::{
    Broker, ChainId, ChainSpec, Device, DeviceSpec, Hasher, Options, Record, Request, RequestEntry, ResponseEntry,
    Stage,
};
use holdfast_base::id;
use holdfast_logical::{Clock, Entropy};
use holdfast_secret::SecretBytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::kept::{Entry, Kept};
use super::AuditConfig;
use crate::{CoreConfig, Error, OpenAudit};

/// The audit of a sealed server.
pub struct Early {
    hasher: Option<Hasher>,
    kept: Mutex<Kept>,
    /// The devices of the configuration were all there are when the table was last read.
    complete: AtomicBool,
    broker: Broker,
    config: AuditConfig,
    open: OpenAudit,
    node: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Early {
    pub fn new(config: &CoreConfig) -> Self {
        Self {
            hasher: Hasher::new(&random(config.entropy.as_ref()), Options::default()),
            kept: Mutex::default(),
            complete: AtomicBool::new(false),
            broker: Broker::observed(Arc::new(config.metrics.audit.clone())),
            config: config.audit.clone(),
            open: config.open_audit,
            node: config.hostname.clone(),
            clock: config.clock.clone(),
            entropy: config.entropy.clone(),
        }
    }

    /// Writes the entry of a request of a sealed server; on error nothing may be done.
    pub async fn request(&self, entry: &RequestEntry<'_>) -> Result<(), Error> {
        self.open_devices();
        self.broker.log_request(entry).await.map_err(|error| refused(&error))?;
        self.keep(Stage::Request, true, |hasher| hasher.request(entry));
        Ok(())
    }

    /// Writes the entry of its answer. Where that fails it is kept: the answer of an init is the only one there will be.
    pub async fn response(&self, entry: &ResponseEntry<'_>) {
        let written = self.broker.log_response(entry).await;
        if let Err(error) = &written {
            tracing::error!(%error, "an entry of a sealed server is kept for later");
        }
        self.keep(Stage::Response, written.is_ok(), |hasher| hasher.response(entry));
    }

    /// Keeps the entry of an answer that no device took.
    pub fn keep_response(&self, entry: &ResponseEntry<'_>) {
        self.keep(Stage::Response, false, |hasher| hasher.response(entry));
    }

    /// Ends the chains of the sealed server, so that the next ones can name their ends.
    pub async fn close(&self) {
        for (device, error) in self.broker.checkpoint(None).await {
            tracing::warn!(device, %error, "an audit device did not finish");
        }
        self.broker.clear();
    }

    /// Opens the devices again, after a rotation of log files.
    pub async fn reopen(&self) {
        for (device, error) in self.broker.reopen().await {
            tracing::error!(device, %error, "an audit device cannot be opened again");
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.lock().is_empty()
    }

    /// Everything that is kept, oldest first, and how much is not.
    pub fn take(&self) -> Vec<Entry> {
        let kept = std::mem::take(&mut *self.kept.lock());
        let text = format!("{} entries of the time before this unseal are lost: too many came", kept.lost());
        let lost = RequestEntry {
            time: self.clock.now(),
            request: Request { operation: "update", path: "sys/audit", ..Request::default() },
            error: Some(&text),
            ..RequestEntry::default()
        };
        let lost = self.hasher.as_ref().filter(|_| kept.lost() > 0).and_then(|hasher| hasher.request(&lost).ok());
        let lost = lost.map(|record| Entry { stage: Stage::Request, record, seen: false });
        lost.into_iter().chain(kept).collect()
    }

    /// Back to the front, in this order: they could not be handed over.
    pub fn put_back(&self, entries: impl DoubleEndedIterator<Item = Entry>) {
        self.kept.lock().put_back(entries);
    }

    /// Are there no devices but those of the configuration? What these have seen is not kept then, nor will be.
    pub fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Relaxed);
        if complete {
            self.kept.lock().forget_seen();
        }
    }

    fn keep(&self, stage: Stage, seen: bool, record: impl FnOnce(&Hasher) -> Result<Record, serde_json::Error>) {
        let seen = seen && !self.config.devices.is_empty();
        if seen && self.complete.load(Ordering::Relaxed) {
            return;
        }
        let record = self.hasher.as_ref().and_then(|hasher| record(hasher).ok());
        let mut kept = self.kept.lock();
        let fits = record.is_some_and(|record| kept.push(Entry { stage, record, seen }));
        if !fits && !seen {
            kept.lose();
        }
    }

    /// Opens what the configuration names and is not open yet.
    fn open_devices(&self) {
        let running = self.broker.paths();
        for device in &self.config.devices {
            let path = format!("{}/", device.path.trim_matches('/'));
            if running.contains(&path) {
                continue;
            }
            let epoch = format!("sealed-{}", id::hex(self.entropy.as_ref(), 8));
            let (heads, _) = mpsc::unbounded_channel();
            let spec = DeviceSpec {
                path: path.clone(),
                kind: device.kind.clone(),
                options: device.options.clone(),
                key: random(self.entropy.as_ref()),
                chain: Some(ChainSpec {
                    id: ChainId { node: self.node.clone(), device: path.clone(), epoch },
                    key: random(self.entropy.as_ref()),
                    signer: None,
                    clock: self.clock.clone(),
                    heads,
                    stored: None,
                }),
                folders: None,
            };
            if let Err(error) = (self.open)(spec).and_then(|opened: Device| self.broker.insert(opened)) {
                tracing::error!(device = path, %error, "an audit device of the configuration cannot be opened");
            }
        }
    }
}

fn refused(error: &holdfast_audit::LogError) -> Error {
    tracing::error!(%error, "no audit device took an entry of a sealed server");
    Error::Audit("request")
}

fn random(entropy: &dyn Entropy) -> SecretBytes {
    let mut key = vec![0u8; 32];
    entropy.fill(&mut key);
    SecretBytes::new(key)
}
