//! The audit devices of this server: a stored table, and the broker that is kept in step with it.
//!
//! Where the table has devices and none of them can be opened, nothing is served: an empty broker would accept
//! everything.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use holdfast_audit::{Broker, DeviceSpec, RequestEntry, ResponseEntry};
use holdfast_base::id;
use holdfast_logical::{Check, Entropy, Revision, StoreError, Txn, View};
use holdfast_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, Metrics, OpenAudit};

/// A stored device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditDevice {
    /// With a slash at the end.
    pub path: String,
    /// Type name.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Values as strings.
    pub options: BTreeMap<String, String>,
    /// Shown as given.
    pub local: bool,
    /// Key of its hashes, hexadecimal.
    key: String,
}

/// The devices of an unsealed server.
pub struct Audit {
    view: View,
    broker: Broker,
    entropy: Arc<dyn Entropy>,
    open: OpenAudit,
    metrics: Metrics,
    current: ArcSwap<Table>,
    reload: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    revision: Revision,
    devices: Vec<AuditDevice>,
    /// Devices of the table that could not be opened; tried again with the next request.
    broken: Vec<String>,
}

const KEY: &str = "audit";

impl Audit {
    /// The devices of the table in `view` (`core/`). Reads nothing yet.
    pub fn new(view: View, entropy: Arc<dyn Entropy>, open: OpenAudit, metrics: Metrics) -> Self {
        let (broker, current, reload) = (Broker::default(), ArcSwap::default(), tokio::sync::Mutex::default());
        Self { view, broker, entropy, open, metrics, current, reload }
    }

    /// Brings the broker in step with the table.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let revision = self.view.revision(KEY).await?.unwrap_or_default();
        let current = self.current.load();
        if current.revision == revision && current.broken.is_empty() {
            return Ok(());
        }
        let _reload = self.reload.lock().await;
        let (devices, revision): (Vec<AuditDevice>, Revision) = self.view.get_json(KEY).await?.unwrap_or_default();
        let old = self.current.load_full();
        for device in old.devices.iter().filter(|device| !devices.contains(device)) {
            self.broker.disable(&device.path);
        }
        let mut broken = Vec::new();
        let running = self.broker.paths();
        for device in devices.iter().filter(|device| !running.contains(&device.path)) {
            if let Err(error) = (self.open)(&device.spec()).and_then(|opened| self.broker.insert(opened)) {
                tracing::error!(device = %device.path, %error, "an audit device cannot be opened");
                broken.push(device.path.clone());
            }
        }
        self.current.store(Arc::new(Table { revision, devices, broken }));
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

    /// Are there devices in the table and none that could write?
    fn deaf(&self) -> bool {
        let table = self.current.load();
        !table.devices.is_empty() && table.broken.len() == table.devices.len()
    }

    /// Adds a device after it took a test line.
    pub async fn enable(
        &self,
        path: &str,
        kind: &str,
        description: &str,
        options: BTreeMap<String, String>,
        local: bool,
        test: &RequestEntry<'_>,
    ) -> Result<(), Error> {
        let device = AuditDevice {
            path: format!("{}/", path.trim_matches('/')),
            kind: kind.to_owned(),
            description: description.to_owned(),
            options,
            local,
            key: id::hex(self.entropy.as_ref(), 32),
        };
        let (mut devices, revision) = self.stored().await?;
        if devices.iter().any(|other| other.path == device.path) {
            return Err(Error::invalid("path already in use"));
        }
        let refused = |error: holdfast_audit::OpenError| Error::invalid(error.to_string());
        // A broker of its own: the device takes its test line before it counts.
        let trial = Broker::default();
        trial.enable((self.open)(&device.spec()).map_err(refused)?, test).await.map_err(refused)?;
        devices.push(device);
        self.store(devices, revision).await
    }

    /// Removes a device; nothing happens if it is not there.
    pub async fn disable(&self, path: &str) -> Result<(), Error> {
        let path = format!("{}/", path.trim_matches('/'));
        let (mut devices, revision) = self.stored().await?;
        let before = devices.len();
        devices.retain(|device| device.path != path);
        if devices.len() == before {
            return Ok(());
        }
        self.store(devices, revision).await
    }

    /// The hash that a device makes of a text; none if there is no such device.
    pub fn hash(&self, path: &str, input: &str) -> Option<String> {
        self.broker.hash(path, input)
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

    async fn stored(&self) -> Result<(Vec<AuditDevice>, Check), StoreError> {
        Ok(match self.view.get_json(KEY).await? {
            Some((devices, revision)) => (devices, Check::At(revision)),
            None => (Vec::new(), Check::Absent),
        })
    }

    async fn store(&self, devices: Vec<AuditDevice>, check: Check) -> Result<(), Error> {
        let mut txn = Txn::new();
        txn.check(self.view.path(KEY), check);
        txn.put_json(self.view.path(KEY), &devices)?;
        self.view.commit(txn).await?;
        Ok(self.sync().await?)
    }
}

impl AuditDevice {
    fn spec(&self) -> DeviceSpec {
        DeviceSpec {
            path: self.path.clone(),
            kind: self.kind.clone(),
            options: self.options.clone(),
            key: SecretBytes::new(hex::decode(&self.key).unwrap_or_default()),
        }
    }

    fn show(&self) -> Value {
        json!({
            "type": self.kind,
            "description": self.description,
            "options": self.options,
            "local": self.local,
            "path": self.path,
        })
    }
}
