//! What the core asks of the process around it: metrics, logs, configuration, machine.

use std::sync::{Arc, OnceLock};

use futures::{FutureExt, future::BoxFuture};
use holdfast_core::{Error, Process};
use holdfast_runtime::LogFormat;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::{Address, Config, ListenerConfig, ReadMode, SealConfig, StorageConfig},
    host,
    metrics::Metrics,
};

/// The process of `holdfast server`.
pub struct Around {
    metrics: Arc<Metrics>,
    configuration: Map<String, Value>,
    log_filter: String,
    reload: OnceLock<mpsc::Sender<oneshot::Sender<()>>>,
}

impl Around {
    /// With what was read from the configuration; `log_filter` is the one that it says.
    pub fn new(metrics: Arc<Metrics>, config: &Config, api_addr: &str, log_filter: &str) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            configuration: sanitized(config, api_addr, log_filter),
            log_filter: log_filter.to_owned(),
            reload: OnceLock::new(),
        })
    }

    /// Requests to read certificates and the rest again; each is answered when it is done. Taken once.
    pub fn reloads(&self) -> mpsc::Receiver<oneshot::Sender<()>> {
        let (sender, receiver) = mpsc::channel(1);
        // A second caller gets requests that nobody sends.
        let _ = self.reload.set(sender);
        receiver
    }
}

impl Process for Around {
    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn log_filter(&self) -> String {
        holdfast_runtime::log_filter()
    }

    fn configured_log_filter(&self) -> String {
        self.log_filter.clone()
    }

    fn set_log_filter(&self, filter: &str) -> bool {
        holdfast_runtime::set_log_filter(filter)
    }

    fn monitor(&self, level: tracing::Level, json: bool) -> Option<holdfast_core::Pieces> {
        holdfast_runtime::monitor(level, if json { LogFormat::Json } else { LogFormat::Text })
    }

    fn configuration(&self) -> Map<String, Value> {
        self.configuration.clone()
    }

    fn host(&self) -> Map<String, Value> {
        host::info()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            let (done, wait) = oneshot::channel();
            let sent = match self.reload.get() {
                Some(sender) => sender.send(done).await.is_ok(),
                None => false,
            };
            match sent && wait.await.is_ok() {
                true => Ok(()),
                false => Err(Error::internal("the configuration cannot be read again now")),
            }
        }
        .boxed()
    }
}

/// The configuration without secrets: addresses and kinds.
fn sanitized(config: &Config, api_addr: &str, log_filter: &str) -> Map<String, Value> {
    let storage = match &config.storage {
        Some(StorageConfig::Etcd(_)) => "etcd",
        Some(StorageConfig::File { .. } | StorageConfig::StandIn(_)) => "file",
        Some(StorageConfig::Inmem) => "inmem",
        None => "",
    };
    let seal = match &config.seal {
        SealConfig::Static { .. } => "static",
        _ => "shamir",
    };
    let shown = json!({
        "api_addr": api_addr,
        "cache_size": 0,
        "cluster_addr": config.peers().map(|peers| format!("https://{}", peers.advertised)).unwrap_or_default(),
        "read_mode": match config.cluster.read_mode {
            ReadMode::Cached => "cached",
            ReadMode::Barrier => "barrier",
        },
        "cluster_name": config.cluster_name.as_deref().unwrap_or_default(),
        "default_lease_ttl": config.default_lease_ttl.as_secs(),
        "max_lease_ttl": config.max_lease_ttl.as_secs(),
        "disable_mlock": true,
        "enable_ui": false,
        "listeners": config.listeners.iter().map(listener).collect::<Vec<_>>(),
        "log_level": log_filter,
        "pid_file": config.pid_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        "raw_storage_endpoint": config.raw_storage,
        "seals": [{ "type": seal, "disabled": false }],
        "storage": {
            "type": storage, "cluster_addr": "", "redirect_addr": api_addr, "disable_clustering": false,
        },
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn listener(listener: &ListenerConfig) -> Value {
    let (kind, address) = match &listener.address {
        Address::Tcp(address) => ("tcp", address.to_string()),
        Address::Unix(socket) => ("unix", socket.path.display().to_string()),
    };
    json!({ "type": kind, "config": { "address": address, "tls_disable": listener.tls.is_none() } })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Everything in a configuration that is secret, or may be: keys, passwords, what the first start writes.
    const SECRETS: &str = r#"
storage "etcd" {
  address = "https://etcd:2379"
  username = "canary-username"
  password = "canary-password"
}
seal "static" {
  current_key_id = "new"
  current_key = "canary-current-0123456789abcdef"
  previous_key_id = "old"
  previous_key = "canary-previous-0123456789abcde"
}
listener "tcp" {
  address = "127.0.0.1:8200"
  tls_disable = true
  custom_response_headers { "default" = { "X-Key" = ["canary-header"] } }
}
audit "socket" "remote" { options { address = "canary-user:canary-secret@log:514" } }
initialize "users" {
  request "user" {
    operation = "update"
    path = "auth/userpass/users/canary-user"
    data { password = "canary-initial" inner { key = "canary-inner" } }
  }
}
cluster_name = "shown"
"#;

    #[test]
    fn cve_2020_13223_the_configuration_is_told_without_its_secrets() {
        let mut config = Config::default();
        config.add(Path::new("test.hcl"), &holdfast_hcl::parse(SECRETS).unwrap()).unwrap();
        assert!(!config.warnings.iter().any(|warning| warning.contains("canary")), "{:?}", config.warnings);
        let around = Around::new(Arc::new(Metrics::new()), &config, "https://here:8200", "info");
        let told = Value::Object(around.configuration()).to_string();
        assert!(told.contains("shown") && told.contains("https://here:8200") && told.contains("etcd"), "{told}");
        assert!(!told.contains("canary"), "{told}");
        // Nor do keys and passwords print by themselves.
        let printed = format!("{:?} {:?}", config.storage, config.seal);
        for secret in ["canary-password", "canary-current", "canary-previous"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
