//! The audit devices of this server: those of its configuration, those of a stored table, and the broker that is kept in
//! step with both.
//!
//! Where there are devices and none of them can be opened, nothing is served: an empty broker would accept everything.

mod chains;
mod devices;
mod early;
mod foreign;
mod headers;
mod milestones;
mod observe;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use holdfast_audit::{Broker, Header, OpenError, RequestEntry, ResponseEntry};
use holdfast_base::Milestone;
use holdfast_logical::{Entropy, Revision, StoreError, View};
use parking_lot::Mutex;
use serde_json::Value;

pub(crate) use self::early::Early;
pub use self::{chains::ChainQuestion, devices::NewDevice};
use self::{
    chains::Chains,
    devices::{AuditDevice, ConfigKeys},
    headers::Headers,
};
use crate::{CoreConfig, Error, Metrics, OpenAudit, fresh::Fresh};

/// What the configuration says about audit.
#[derive(Clone, Debug, Default)]
pub struct AuditConfig {
    /// Devices that are there from the start, sealed or not.
    pub devices: Vec<ConfiguredDevice>,
    /// Folders that audit files may be in; everywhere if `None`.
    pub folders: Option<Arc<[PathBuf]>>,
    /// Serve a store that was put back to an older state, if what an audit file proves of it is this milestone.
    pub accept_restored: Option<String>,
}

/// `audit "file" "name" { … }`.
#[derive(Clone, Debug)]
pub struct ConfiguredDevice {
    /// Name.
    pub path: String,
    /// Type.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Values as strings.
    pub options: BTreeMap<String, String>,
}

/// The devices of an unsealed server.
pub struct Audit {
    view: View,
    broker: Broker,
    entropy: Arc<dyn Entropy>,
    open: OpenAudit,
    config: AuditConfig,
    metrics: Metrics,
    chains: Chains,
    headers: ArcSwap<Headers>,
    current: ArcSwap<Table>,
    fresh: Fresh,
    /// What was written before there were keys and is still to be told to the devices of the table.
    early: Arc<Early>,
    reload: tokio::sync::Mutex<()>,
    epochs: Mutex<BTreeMap<String, u64>>,
    /// The last milestone of the store that this replica has passed, or that a file of it proves.
    known: Mutex<Milestone>,
}

#[derive(Default)]
struct Table {
    /// `None` before the first look.
    revision: Option<Revision>,
    devices: Vec<AuditDevice>,
    /// Devices of the table that could not be opened; tried again with the next request.
    broken: Vec<String>,
}

const KEY: &str = "audit";

impl Audit {
    /// The devices of the configuration and of the table in `view` (`core/`). Opens nothing yet.
    pub fn new(view: View, config: &CoreConfig, early: Arc<Early>) -> Result<Self, StoreError> {
        Ok(Self {
            broker: Broker::observed(Arc::new(config.metrics.audit.clone())),
            entropy: config.entropy.clone(),
            open: config.open_audit,
            config: config.audit.clone(),
            metrics: config.metrics.clone(),
            chains: Chains::new(view.clone(), config)?,
            headers: ArcSwap::default(),
            current: ArcSwap::default(),
            fresh: Fresh::default(),
            early,
            reload: tokio::sync::Mutex::default(),
            epochs: Mutex::default(),
            known: Mutex::default(),
            view,
        })
    }

    /// Brings the broker in step with configuration and table, and reads which headers are logged.
    pub async fn sync(&self) -> Result<(), StoreError> {
        if self.fresh.holds(&self.view, 0) {
            return Ok(());
        }
        let before = self.view.mark();
        let (revision, headers) = futures::try_join!(self.view.revision(KEY), self.stored_headers())?;
        if let Some(headers) = headers {
            self.headers.store(Arc::new(headers));
        }
        let revision = revision.unwrap_or_default();
        let current = self.current.load();
        if current.revision == Some(revision) && current.broken.is_empty() {
            self.fresh.remember(&self.view, before, 0);
            return Ok(());
        }
        drop(current);
        Box::pin(self.follow()).await
    }

    /// Opens and closes devices as the table says.
    async fn follow(&self) -> Result<(), StoreError> {
        let _reload = self.reload.lock().await;
        let (devices, revision) = self.devices().await?;
        let old = self.current.load_full();
        for device in old.devices.iter().filter(|device| !devices.contains(device)) {
            self.broker.disable(&device.path);
        }
        let mut broken = Vec::new();
        let running = self.broker.paths();
        for device in devices.iter().filter(|device| !running.contains(&device.path)) {
            if let Err(error) = self.open_device(device).await? {
                tracing::error!(device = %device.path, %error, "an audit device cannot be opened");
                broken.push(device.path.clone());
            }
        }
        self.current.store(Arc::new(Table { revision: Some(revision), devices, broken }));
        self.tell_early().await;
        Ok(())
    }

    /// Are there no devices? Then nobody reads what an entry is made of.
    pub fn is_idle(&self) -> bool {
        self.current.load().devices.is_empty()
    }

    /// Writes the entry of a request; on error nothing may be done.
    pub async fn request(&self, entry: &RequestEntry<'_>) -> Result<(), Error> {
        let written = match self.deaf() {
            true => Err("no device can be opened".to_owned()),
            false => self.broker.log_request(entry).await.map_err(|error| error.to_string()),
        };
        self.judge(written, "request")
    }

    /// Writes the entry of an answer; on error the answer must not leave.
    pub async fn response(&self, entry: &ResponseEntry<'_>) -> Result<(), Error> {
        let written = match self.deaf() {
            true => Err("no device can be opened".to_owned()),
            false => self.broker.log_response(entry).await.map_err(|error| error.to_string()),
        };
        self.judge(written, "response")
    }

    fn judge(&self, written: Result<(), String>, what: &'static str) -> Result<(), Error> {
        written.map_err(|reason| {
            self.metrics.audit_failures.inc();
            tracing::error!(reason, "no audit device took a {what} entry");
            Error::Audit(what)
        })
    }

    /// Are there devices and none that could write, or is one missing that must?
    fn deaf(&self) -> bool {
        let table = self.current.load();
        let missing = |device: &&AuditDevice| table.broken.contains(&device.path);
        !table.devices.is_empty()
            && (table.broken.len() == table.devices.len()
                || table.devices.iter().filter(missing).any(AuditDevice::is_required))
    }

    /// The hash that a device makes of a text; none if there is no such device.
    pub fn hash(&self, path: &str, input: &str) -> Option<String> {
        self.broker.hash(path, input)
    }

    /// The headers of a request that are to be logged.
    pub fn headers(&self, sent: &crate::raw::Headers) -> BTreeMap<String, Header> {
        self.headers.load().of(sent)
    }

    /// The devices as `sys/audit` shows them.
    pub fn show(&self) -> Value {
        let table = self.current.load();
        let rows = table.devices.iter().map(|device| (device.path.clone(), device.show()));
        Value::Object(rows.collect())
    }

    /// Opens every target again, after a rotation of log files.
    pub async fn reopen(&self) {
        for (device, error) in self.broker.reopen().await {
            tracing::error!(device, %error, "an audit device cannot be opened again");
        }
    }

    /// Signs how far the chains have come and stores it.
    pub async fn checkpoint(&self) {
        self.sign(None).await;
        self.store_heads().await;
        self.tell_early().await;
    }

    /// Signs how far the chains have come, and how far the store has if that is news.
    async fn sign(&self, store: Option<Milestone>) {
        for (device, error) in self.broker.checkpoint(store).await {
            tracing::warn!(device, %error, "an audit device takes no checkpoint");
        }
    }

    /// Stores how far the chains have come since the last call.
    pub async fn store_heads(&self) {
        if let Err(error) = self.chains.store_heads().await {
            tracing::warn!(%error, "how far the audit log has come is not stored; trying again");
        }
    }

    /// Public key and stored heads.
    pub async fn proof(&self) -> Result<Value, Error> {
        self.store_heads().await;
        self.chains.show().await
    }

    /// Which lines of a chain have a wrong MAC, by position in the question.
    pub async fn check(&self, question: &ChainQuestion<'_>) -> Result<Vec<usize>, Error> {
        self.chains.check(question).await
    }

    /// Opens a device with a chain of its own; the inner error is the device's.
    async fn open_device(&self, device: &AuditDevice) -> Result<Result<(), OpenError>, StoreError> {
        let kept = self.epochs.lock().remove(&device.path);
        let epoch = match kept {
            Some(epoch) => epoch,
            None => self.begin(device).await?,
        };
        let mut spec = device.spec(self.folders_of(device));
        spec.chain = Some(self.chains.spec(&device.path, epoch).await?);
        let opened = (self.open)(spec).and_then(|opened| self.broker.insert(opened));
        if opened.is_err() {
            // Nothing was written under this number: the next attempt takes it.
            self.epochs.lock().insert(device.path.clone(), epoch);
        }
        Ok(opened)
    }

    /// Takes the number of a new epoch, which is no older one's even if the store was put back.
    async fn begin(&self, device: &AuditDevice) -> Result<u64, StoreError> {
        let found = self.past(device).map_or(0, |past| past.epoch);
        self.chains.begin(&device.path, found).await
    }

    /// What is written by the server's owner into its configuration may be anywhere.
    fn folders_of(&self, device: &AuditDevice) -> Option<Arc<[PathBuf]>> {
        if device.configured { None } else { self.config.folders.clone() }
    }

    /// Hands over what was kept while there were no keys, once a device is there that has not seen it.
    async fn tell_early(&self) {
        let table = self.current.load_full();
        if self.deaf() || table.devices.is_empty() {
            return;
        }
        let configured: Vec<_> =
            table.devices.iter().filter(|device| device.configured).map(|device| device.path.clone()).collect();
        self.early.set_complete(configured.len() == table.devices.len());
        if self.early.is_empty() {
            return;
        }
        let mut entries = self.early.take().into_iter();
        while let Some(entry) = entries.next() {
            let seen: &[String] = if entry.seen { &configured } else { &[] };
            if let Err(error) = self.broker.log_record(entry.stage, &entry.record, seen).await {
                tracing::error!(%error, "what was kept while sealed is not in the audit log yet");
                return self.early.put_back(std::iter::once(entry).chain(entries));
            }
        }
    }

    /// An entry about the seal whose devices all failed: it must not be lost, and neither must its answer.
    pub(crate) fn keep(&self, entry: &ResponseEntry<'_>) {
        self.early.keep_response(entry);
    }

    async fn devices(&self) -> Result<(Vec<AuditDevice>, Revision), StoreError> {
        let (stored, revision): (Vec<AuditDevice>, Revision) = self.view.get_json(KEY).await?.unwrap_or_default();
        if self.config.devices.is_empty() {
            return Ok((stored, revision));
        }
        let keys = ConfigKeys::read(&self.view, &self.config.devices, self.entropy.as_ref()).await?;
        let mut devices: Vec<_> = self.config.devices.iter().map(|device| keys.device(device)).collect();
        for device in stored {
            if devices.iter().any(|other| other.path == device.path) {
                tracing::warn!(
                    device = device.path,
                    "the configuration has an audit device of the same name, which wins"
                );
            } else {
                devices.push(device);
            }
        }
        Ok((devices, revision))
    }
}
