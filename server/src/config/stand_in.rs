//! Storage that other servers kept elsewhere (`storage "consul"`), and what stands in for it here: an etcd that the
//! environment names, or a file of this machine. Nothing is read from the place itself.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{EtcdConfig, StorageConfig};
use holdfast_hcl::Stanza;

/// A place that several servers share by naming it alike.
#[derive(Clone, Debug)]
pub struct StandIn {
    kind: String,
    /// 16 hexadecimal digits of what the servers that share it have in common.
    key: String,
}

impl StandIn {
    /// Reads `storage "consul"`: servers share it when address and path are the same.
    pub fn consul(stanza: &Stanza<'_>) -> Result<Self, super::Error> {
        let address = stanza.string("address")?.unwrap_or_else(|| "127.0.0.1:8500".to_owned());
        let path = stanza.string("path")?.unwrap_or_else(|| "vault/".to_owned());
        stanza.ignore(&["token", "scheme", "service", "service_tags", "service_address", "check_timeout"]);
        stanza.ignore(&["consistency_mode", "disable_registration", "session_ttl", "lock_wait_time", "max_parallel"]);
        stanza.ignore(&["tls_ca_file", "tls_cert_file", "tls_key_file", "tls_min_version", "tls_skip_verify"]);
        let digest = Sha256::digest(format!("{address}\n{}", path.trim_matches('/')));
        Ok(Self { kind: "consul".to_owned(), key: hex::encode(&digest[..8]) })
    }

    /// What stands in for it: etcd at `HOLDFAST_ETCD_ENDPOINTS`, else a file below `HOLDFAST_DATA_DIR` or the user's
    /// folder for the state of programs.
    pub fn resolve(&self, environment: &dyn Fn(&str) -> Option<String>, warnings: &mut Vec<String>) -> StorageConfig {
        let get = |name: &str| environment(name).filter(|value| !value.is_empty());
        let Self { kind, key } = self;
        if let Some(endpoints) = get("HOLDFAST_ETCD_ENDPOINTS") {
            let prefix = format!("holdfast-{kind}/{key}/");
            warnings.push(format!(
                "storage {kind:?} becomes etcd at {endpoints} (HOLDFAST_ETCD_ENDPOINTS) below {prefix}; nothing is read from {kind}"
            ));
            return StorageConfig::Etcd(Box::new(EtcdConfig {
                allow_old: false,
                endpoints: endpoints.split(',').map(|endpoint| endpoint.trim().to_owned()).collect(),
                ca_file: get("HOLDFAST_ETCD_CACERT").map(PathBuf::from),
                cert_file: get("HOLDFAST_ETCD_CERT").map(PathBuf::from),
                key_file: get("HOLDFAST_ETCD_KEY").map(PathBuf::from),
                prefix,
                username: None,
                password: None,
            }));
        }
        let state = get("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.or_else(|| get("HOME").map(|home| PathBuf::from(home).join(".local/state")));
        let folder = get("HOLDFAST_DATA_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| state.unwrap_or_else(|| PathBuf::from("/var/lib")).join("holdfast"));
        let path = folder.join(format!("{kind}-{key}"));
        warnings.push(format!(
            "storage {kind:?} becomes a file of one server in {}; for servers that share it, name an etcd in \
             HOLDFAST_ETCD_ENDPOINTS; nothing is read from {kind}",
            path.display()
        ));
        StorageConfig::File { path }
    }
}
