//! Opens what the `storage` and `seal` stanzas name.

use std::{os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use holdfast_base::Entropy;
use holdfast_seal::{Seal, ShamirSeal, StaticSeal, parse_key};
use holdfast_secret::SecretString;
use holdfast_storage::{MemoryStorage, Storage};
use holdfast_storage_etcd::{ConnectError, Credentials, EtcdStorage};
use holdfast_storage_file::{FileStorage, OpenError};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::{EtcdConfig, SealConfig, StaticKey, StorageConfig};

/// How long a start waits for an etcd that does not answer yet.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long somebody who only looks waits for etcd.
const LOOK: Duration = Duration::from_secs(10);

/// The one file in the folder of `storage "file"`.
const FILE: &str = "holdfast.redb";

/// Opens the store.
pub async fn open_storage(config: &StorageConfig) -> anyhow::Result<Arc<dyn Storage>> {
    match config {
        StorageConfig::Inmem => Ok(Arc::new(MemoryStorage::new())),
        StorageConfig::StandIn(_) => anyhow::bail!("no storage"),
        StorageConfig::File { path } => {
            if let Some(found) =
                ["core", "logical", "sys", "raft", "vault.db"].iter().find(|name| path.join(name).exists())
            {
                warn!(
                    "{} holds data of another server ({found}); it is not read: copy secrets by the API",
                    path.display()
                );
            }
            make_folder(path).with_context(|| format!("storage \"file\": {}", path.display()))?;
            Ok(Arc::new(FileStorage::open(path.join(FILE)).context("storage \"file\"")?))
        }
        StorageConfig::Etcd(config) => Ok(Arc::new(connect_patiently(config).await?)),
    }
}

/// What is there, without a change to it; the error is why a server would not start.
pub async fn look_at(config: &StorageConfig) -> anyhow::Result<String> {
    match config {
        StorageConfig::Inmem => Ok("memory: nothing outlives the process".to_owned()),
        StorageConfig::StandIn(_) => anyhow::bail!("no storage"),
        StorageConfig::File { path } => {
            let file = path.join(FILE);
            if !file.exists() {
                return Ok(format!("{}: nothing is stored yet", file.display()));
            }
            match FileStorage::open(&file) {
                Ok(_) => Ok(file.display().to_string()),
                Err(OpenError::InUse { owner, .. }) => {
                    Ok(format!("{}: a server has it open ({owner})", file.display()))
                }
                Err(error) => Err(error).context("storage \"file\""),
            }
        }
        StorageConfig::Etcd(config) => {
            let endpoints = config.endpoints.join(", ");
            let connected = tokio::time::timeout(LOOK, EtcdStorage::connect(etcd_config(config)?)).await;
            match connected {
                Ok(connected) => connected.context("storage \"etcd\"")?,
                Err(_) => anyhow::bail!("storage \"etcd\": {endpoints}: no answer within {LOOK:?}"),
            };
            Ok(format!("etcd at {endpoints} answers, and its version will do"))
        }
    }
}

/// For the server's user alone.
fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Connects, trying again while etcd does not answer: both may be starting. What no waiting mends (a certificate, a
/// password, a version) ends the start at once.
async fn connect_patiently(config: &EtcdConfig) -> anyhow::Result<EtcdStorage> {
    let started = Instant::now();
    loop {
        let error = match EtcdStorage::connect(etcd_config(config)?).await {
            Ok(storage) => {
                info!(endpoints = config.endpoints.join(","), "connected to etcd");
                return Ok(storage);
            }
            Err(error) => error,
        };
        let hopeless = !matches!(error, ConnectError::Unreachable(_)) || names_tls(&error.to_string());
        if hopeless || started.elapsed() > PATIENCE {
            return Err(anyhow::Error::new(error).context("storage \"etcd\""));
        }
        warn!(%error, "waiting for etcd");
        sleep(Duration::from_secs(1)).await;
    }
}

fn names_tls(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["certificate", "unknownissuer", "fatal alert", "unknown ca", "notvalidforname"]
        .iter()
        .any(|sign| text.contains(sign))
}

fn etcd_config(config: &EtcdConfig) -> anyhow::Result<holdfast_storage_etcd::Config> {
    let read = |key: &str, path: &Option<std::path::PathBuf>| path.as_deref().map(|path| read(key, path)).transpose();
    Ok(holdfast_storage_etcd::Config {
        endpoints: config.endpoints.clone(),
        ca_pem: read("tls_ca_file", &config.ca_file)?,
        cert_pem: read("tls_cert_file", &config.cert_file)?,
        key_pem: read("tls_key_file", &config.key_file)?.map(SecretString::new),
        prefix: config.prefix.clone(),
        allow_old: config.allow_old,
        credentials: match (&config.username, &config.password) {
            (Some(username), Some(password)) => {
                Some(Credentials { username: username.clone(), password: password.duplicate() })
            }
            _ => None,
        },
        ..holdfast_storage_etcd::Config::default()
    })
}

fn read(key: &str, path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("storage \"etcd\" {key}: {}", path.display()))
}

/// Makes the seal.
pub fn open_seal(
    config: &SealConfig,
    environment: &dyn Fn(&str) -> Option<String>,
    entropy: Arc<dyn Entropy>,
) -> anyhow::Result<Arc<dyn Seal>> {
    let SealConfig::Static { current, previous } = config else { return Ok(Arc::new(ShamirSeal)) };
    let key = |key: &StaticKey| {
        let given = key.source.load(environment)?;
        parse_key(given.expose()).with_context(|| format!("seal \"static\": key {:?}", key.id))
    };
    let mut seal = StaticSeal::new(&key(current)?, &current.id, entropy)?;
    if let Some(previous) = previous {
        seal = seal.with_previous(&key(previous)?, &previous.id)?;
    }
    Ok(Arc::new(seal))
}
