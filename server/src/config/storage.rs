//! `storage "etcd" | "file" | "inmem"`; what Vault stored elsewhere is mapped where a file or a prefix in etcd can stand
//! in for it.

use std::path::PathBuf;

use holdfast_secret::SecretString;

use super::{Error, StandIn};
use holdfast_hcl::Stanza;

/// Where data is kept.
#[derive(Clone, Debug)]
pub enum StorageConfig {
    /// etcd v3.
    Etcd(Box<EtcdConfig>),
    /// One local file.
    File {
        /// The folder that holds it.
        path: PathBuf,
    },
    /// Memory; gone when the process ends.
    Inmem,
    /// Of another server; [`Config::load`](super::Config::load) puts one of the others in its place.
    StandIn(StandIn),
}

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// `https://host:2379`.
    pub endpoints: Vec<String>,
    /// Authorities to trust, PEM.
    pub ca_file: Option<PathBuf>,
    /// Client certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// All keys begin with this.
    pub prefix: String,
    /// Take an etcd with known faults, and do without what they break.
    pub allow_old: bool,
    /// User of etcd's own authentication.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<std::sync::Arc<SecretString>>,
}

impl StorageConfig {
    /// Reads the stanza.
    pub fn read(kind: &str, stanza: &Stanza<'_>, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let storage = match kind {
            "inmem" | "inmem_ha" | "inmem_transactional" => {
                warnings.push(format!("storage {kind:?} is the memory of this process: all is gone when it ends"));
                Self::Inmem
            }
            "file" => {
                let path = PathBuf::from(stanza.required("path")?);
                warnings.push(format!(
                    "storage \"file\" is one file of this server alone in {}; nothing of another server is read there",
                    path.display()
                ));
                Self::File { path }
            }
            "raft" => {
                let path = PathBuf::from(stanza.required("path")?);
                warnings.push(format!(
                    "storage \"raft\" becomes a file of this server alone in {}; use storage \"etcd\" for replicas",
                    path.display()
                ));
                stanza.ignore(&["node_id", "retry_join", "performance_multiplier", "trailing_logs", "max_entry_size"]);
                stanza.ignore(&["snapshot_threshold", "autopilot_reconcile_interval", "snapshot_interval"]);
                stanza.ignore(&["autopilot_update_interval", "autopilot_redundancy_zone", "autopilot_upgrade_version"]);
                stanza.ignore(&[
                    "retry_join_as_non_voter",
                    "raft_wal",
                    "raft_log_verifier_enabled",
                    "max_mount_and_namespace_table_entry_size",
                ]);
                Self::File { path }
            }
            "consul" => Self::StandIn(StandIn::consul(stanza)?),
            "etcd" => Self::Etcd(Box::new(EtcdConfig::read(stanza)?)),
            other => {
                return Err(stanza.wrong("", format!("{other:?} is not supported; use etcd, file or inmem")).into());
            }
        };
        stanza.ignore(&["etcd_api", "ha_enabled", "sync", "discovery_srv", "request_timeout", "lock_timeout"]);
        stanza.ignore(&["max_parallel", "disable_clustering", "cluster_addr", "redirect_addr"]);
        stanza.finish(warnings);
        Ok(storage)
    }
}

impl EtcdConfig {
    fn read(stanza: &Stanza<'_>) -> Result<Self, Error> {
        let mut endpoints = stanza.list("endpoints")?;
        endpoints.extend(stanza.list("address")?);
        if endpoints.is_empty() {
            return Err(stanza.wrong("endpoints", "missing; for instance [\"https://etcd-0:2379\"]").into());
        }
        if let Some(bad) = endpoints.iter().find(|e| !e.starts_with("http://") && !e.starts_with("https://")) {
            return Err(stanza.wrong("endpoints", format!("{bad:?} does not begin with http:// or https://")).into());
        }
        let (cert_file, key_file) = (stanza.path("tls_cert_file")?, stanza.path("tls_key_file")?);
        if cert_file.is_some() != key_file.is_some() {
            return Err(stanza.wrong("tls_cert_file", "tls_cert_file and tls_key_file are needed together").into());
        }
        let prefix = stanza.string("prefix")?.or(stanza.string("path")?).unwrap_or_else(|| "holdfast/".to_owned());
        Ok(Self {
            endpoints,
            ca_file: stanza.path("tls_ca_file")?,
            cert_file,
            key_file,
            prefix,
            allow_old: stanza.bool("allow_old_etcd")?.unwrap_or(false),
            username: stanza.string("username")?,
            password: stanza.string("password")?.map(|password| std::sync::Arc::new(SecretString::new(password))),
        })
    }
}
