//! Stored devices: how they are enabled, disabled and shown.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use holdfast_audit::{Broker, DeviceSpec, OpenError, RequestEntry};
use holdfast_base::id;
use holdfast_logical::{Check, Entropy, StoreError, Txn, View};
use holdfast_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Audit, ConfiguredDevice, KEY};
use crate::Error;

/// A device with its key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
    /// From the configuration file, not from the table.
    #[serde(skip)]
    pub configured: bool,
}

/// What `sys/audit/:path` was told.
pub struct NewDevice<'a> {
    /// Name.
    pub path: &'a str,
    /// Type.
    pub kind: &'a str,
    /// For people.
    pub description: &'a str,
    /// Values as strings.
    pub options: BTreeMap<String, String>,
    /// Shown as given.
    pub local: bool,
}

/// Keys of devices that the configuration names: made at the first unseal with them, kept for good.
pub struct ConfigKeys(BTreeMap<String, String>);

const CONFIG_KEYS: &str = "audit-config-keys";

impl Audit {
    /// Adds a device after it took a test line.
    pub async fn enable(&self, new: NewDevice<'_>, test: &RequestEntry<'_>) -> Result<(), Error> {
        let device = AuditDevice {
            path: format!("{}/", new.path.trim_matches('/')),
            kind: new.kind.to_owned(),
            description: new.description.to_owned(),
            options: new.options,
            local: new.local,
            key: id::hex(self.entropy.as_ref(), 32),
            configured: false,
        };
        let (mut devices, revision) = self.stored().await?;
        if devices.iter().any(|other| other.path == device.path) || self.is_configured(&device.path) {
            return Err(Error::invalid("path already in use"));
        }
        let refused = |error: OpenError| Error::invalid(error.to_string());
        // A broker of its own: the device takes its test line before it counts.
        let mut spec = device.spec(self.folders_of(&device));
        let epoch = self.begin(&device).await?;
        spec.chain = Some(self.chains.spec(&device.path, epoch).await?);
        let trial = Broker::default();
        trial.enable((self.open)(spec).map_err(refused)?, test).await.map_err(refused)?;
        // Its thread has the file for itself until it is told to end.
        trial.checkpoint(None).await;
        drop(trial);
        devices.push(device);
        self.store(devices, revision).await
    }

    /// Removes a device; nothing happens if it is not there.
    pub async fn disable(&self, path: &str) -> Result<(), Error> {
        let path = format!("{}/", path.trim_matches('/'));
        if self.is_configured(&path) {
            return Err(Error::invalid(format!(
                "the audit device {path} is part of the server's configuration: remove it there and restart"
            )));
        }
        let (mut devices, revision) = self.stored().await?;
        let before = devices.len();
        devices.retain(|device| device.path != path);
        if devices.len() == before {
            return Ok(());
        }
        self.checkpoint().await;
        self.store(devices, revision).await
    }

    fn is_configured(&self, path: &str) -> bool {
        self.config.devices.iter().any(|device| device.path.trim_matches('/') == path.trim_matches('/'))
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

impl ConfigKeys {
    /// Reads them, and makes those that are missing.
    pub async fn read(view: &View, devices: &[ConfiguredDevice], entropy: &dyn Entropy) -> Result<Self, StoreError> {
        loop {
            let stored: Option<(BTreeMap<String, String>, _)> = view.get_json(CONFIG_KEYS).await?;
            let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let mut keys = stored.map(|(keys, _)| keys).unwrap_or_default();
            let before = keys.len();
            for device in devices {
                keys.entry(device.path.trim_matches('/').to_owned()).or_insert_with(|| id::hex(entropy, 32));
            }
            if keys.len() == before {
                return Ok(Self(keys));
            }
            let mut txn = Txn::new();
            txn.check(view.path(CONFIG_KEYS), check);
            txn.put_json(view.path(CONFIG_KEYS), &keys)?;
            match view.commit(txn).await {
                // Another replica was faster; its keys count.
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A device of the configuration with its key.
    pub fn device(&self, device: &ConfiguredDevice) -> AuditDevice {
        let name = device.path.trim_matches('/');
        AuditDevice {
            path: format!("{name}/"),
            kind: device.kind.clone(),
            description: device.description.clone(),
            options: device.options.clone(),
            local: true,
            key: self.0.get(name).cloned().unwrap_or_default(),
            configured: true,
        }
    }
}

impl AuditDevice {
    pub fn spec(&self, folders: Option<Arc<[PathBuf]>>) -> DeviceSpec {
        DeviceSpec {
            path: self.path.clone(),
            kind: self.kind.clone(),
            options: self.options.clone(),
            key: SecretBytes::new(hex::decode(&self.key).unwrap_or_default()),
            chain: None,
            folders,
        }
    }

    pub fn is_required(&self) -> bool {
        self.options
            .get("required")
            .is_some_and(|text| matches!(text.as_str(), "true" | "1" | "t" | "T" | "True" | "TRUE"))
    }

    pub fn show(&self) -> Value {
        json!({
            "type": self.kind,
            "description": self.description,
            "options": self.options,
            "local": self.local,
            "path": self.path,
        })
    }
}
