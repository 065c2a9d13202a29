//! The configuration file, in Vault's shape: HCL or JSON, files or folders, later ones adding to and winning over earlier
//! ones; then the environment, where `HOLDFAST_X` wins over `VAULT_X` and both over the file.
//!
//! What is wrong is an error that names file and key; what is unknown is a warning.

mod audit;
mod cluster;
mod initialize;
mod limits;
mod listener;
mod lockout;
mod seal;
mod stand_in;
mod storage;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_base::duration;
use holdfast_core::AuditConfig;
use holdfast_core::admission;
use holdfast_core::lockout::Lockouts;
use holdfast_hcl::{Body, Stanza};
use holdfast_runtime::LogFormat;

pub use self::{
    cluster::{ClusterConfig, PeerAddresses, ReadMode},
    initialize::InitializeRequest,
    listener::{Address, ListenerConfig, TlsConfig, UnixSocket, resolve},
    seal::{KeySource, SealConfig, StaticKey},
    stand_in::StandIn,
    storage::{EtcdConfig, StorageConfig},
};

/// Why there is no configuration. Texts name file and key, and hold no values of secret keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or folder cannot be read.
    #[error("{}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The text is no HCL and no JSON.
    #[error("{}: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, what, and what would have been right.
        reason: holdfast_hcl::ParseError,
    },
    /// A block or key is wrong.
    #[error(transparent)]
    Stanza(#[from] holdfast_hcl::StanzaError),
    /// An environment variable has no usable value.
    #[error("environment variable {name}: {message}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The whole does not do.
    #[error("{0}")]
    Incomplete(String),
}

/// What the server is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where data is kept.
    pub storage: Option<StorageConfig>,
    /// Who keeps the root key.
    pub seal: SealConfig,
    /// Who kept it before: `disabled`, until the seal is changed.
    pub previous_seal: Option<SealConfig>,
    /// Sockets.
    pub listeners: Vec<ListenerConfig>,
    /// How clients reach this server.
    pub api_addr: Option<String>,
    /// Other servers.
    pub cluster: ClusterConfig,
    /// Shown in `sys/health`.
    pub cluster_name: Option<String>,
    /// TTL of tokens and leases where nothing else says one.
    pub default_lease_ttl: Duration,
    /// Longest TTL of tokens and leases where nothing else says one.
    pub max_lease_ttl: Duration,
    /// How many requests are worked on at a time.
    pub limits: admission::Limits,
    /// How many failed logins lock a user out.
    pub lockouts: Lockouts,
    /// Level or filter; `info` if nothing says one.
    pub log_level: Option<String>,
    /// Text or JSON.
    pub log_format: LogFormat,
    /// File or folder that the log is written to beside standard error.
    pub log_file: Option<PathBuf>,
    /// Tell the name of this host with every answer.
    pub hostname_header: bool,
    /// Serve `sys/raw`.
    pub raw_storage: bool,
    /// File that holds the process id while the server runs.
    pub pid_file: Option<PathBuf>,
    /// What the first start does by itself.
    pub initialize: Vec<InitializeRequest>,
    /// Audit devices, and where their files may be.
    pub audit: AuditConfig,
    /// What is strange but no reason to stop.
    pub warnings: Vec<String>,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        const DAYS_32: Duration = Duration::from_secs(768 * 3600);
        Self {
            storage: None,
            seal: SealConfig::default(),
            previous_seal: None,
            listeners: Vec::new(),
            api_addr: None,
            cluster: ClusterConfig::default(),
            cluster_name: None,
            default_lease_ttl: DAYS_32,
            max_lease_ttl: DAYS_32,
            lockouts: Lockouts::default(),
            limits: admission::Limits::default(),
            log_level: None,
            log_format: LogFormat::Text,
            log_file: None,
            hostname_header: false,
            raw_storage: false,
            pid_file: None,
            initialize: Vec::new(),
            audit: AuditConfig::default(),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Reads files and folders (of which every `*.hcl` and `*.json`, in order of name), then the environment.
    pub fn load(paths: &[PathBuf], environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut config = Self::default();
        for path in paths {
            for file in files(path)? {
                let text =
                    std::fs::read_to_string(&file).map_err(|reason| Error::Read { path: file.clone(), reason })?;
                let body = holdfast_hcl::parse(&text).map_err(|reason| Error::Parse { path: file.clone(), reason })?;
                config.add(&file, &body)?;
            }
        }
        config.add_environment(environment)?;
        if let Some(StorageConfig::StandIn(stand_in)) =
            config.storage.take_if(|found| matches!(found, StorageConfig::StandIn(_)))
        {
            config.storage = Some(stand_in.resolve(environment, &mut config.warnings));
        }
        Ok(config)
    }

    /// Adds the content of one file.
    pub fn add(&mut self, file: &Path, body: &Body) -> Result<(), Error> {
        let top = Stanza::new(file, "", body);
        for kind in ["backend", "storage"] {
            for (labels, stanza) in top.blocks(kind, 1)? {
                self.storage = Some(StorageConfig::read(&labels[0], &stanza, &mut self.warnings)?);
            }
        }
        for (labels, stanza) in top.blocks("seal", 1)? {
            match SealConfig::read(&labels[0], &stanza, &mut self.warnings)? {
                (seal, false) => self.seal = seal,
                (seal, true) => self.previous_seal = Some(seal),
            }
        }
        for (labels, stanza) in top.blocks("listener", 1)? {
            self.listeners.push(ListenerConfig::read(&labels[0], &stanza, &mut self.warnings)?);
        }
        for (labels, stanza) in top.blocks("user_lockout", 1)? {
            lockout::read(&labels[0], &stanza, &mut self.lockouts, &mut self.warnings)?;
        }
        limits::read(&top, &mut self.limits)?;
        audit::read(&top, &mut self.audit, &mut self.warnings)?;
        for (_, stanza) in top.blocks("initialize", 1)? {
            initialize::read(&stanza, &mut self.initialize, &mut self.warnings)?;
        }
        if let Some(address) = top.string("api_addr")? {
            self.api_addr = Some(address);
        }
        if let Some(name) = top.string("cluster_name")? {
            self.cluster_name = Some(name);
        }
        self.default_lease_ttl = top.duration("default_lease_ttl")?.unwrap_or(self.default_lease_ttl);
        self.max_lease_ttl = top.duration("max_lease_ttl")?.unwrap_or(self.max_lease_ttl);
        if let Some(longest) = top.duration("default_max_request_duration")?.filter(|longest| !longest.is_zero()) {
            let usual = holdfast_http::Limits::default().request;
            let unset = self.listeners.iter_mut().filter(|listener| listener.limits.request == usual);
            unset.for_each(|listener| listener.limits.request = longest);
        }
        if let Some(delay) = top.duration("shutdown_delay")? {
            self.listeners.iter_mut().for_each(|listener| listener.limits.leave = delay);
        }
        if self.default_lease_ttl > self.max_lease_ttl {
            let limit = duration::format(self.max_lease_ttl);
            return Err(top
                .wrong("default_lease_ttl", format!("it is more than max_lease_ttl, which is {limit}"))
                .into());
        }
        self.log_level = top.string("log_level")?.or(self.log_level.take());
        if let Some(format) = top.string("log_format")? {
            self.log_format = format.parse().map_err(|error| top.wrong("log_format", error))?;
        }
        self.raw_storage = top.bool("raw_storage_endpoint")?.unwrap_or(self.raw_storage);
        self.pid_file = top.path("pid_file")?.or(self.pid_file.take());
        self.cluster.read(&top)?;
        // No swap to lock against without the capability, no plug-in to load.
        top.ignore(&["disable_mlock", "disable_clustering", "ui", "disable_cache", "cache_size"]);
        top.ignore(&["plugin_directory", "plugin_tmpdir", "plugin_file_uid", "plugin_file_permissions", "telemetry"]);
        top.ignore(&["disable_performance_standby", "disable_sealwrap", "disable_indexing", "license_path"]);
        top.ignore(&["enable_response_header_raft_node_id", "reporting"]);
        self.hostname_header = top.bool("enable_response_header_hostname")?.unwrap_or(self.hostname_header);
        self.log_file = top.path("log_file")?.or(self.log_file.take());
        for (labels, _) in top.blocks("ha_storage", 1)? {
            let kind = &labels[0];
            self.warnings.push(format!("ha_storage {kind:?} is not needed: servers that share a storage all serve"));
        }
        top.not_yet(&["service_registration", "introspection_endpoint"], &mut self.warnings);
        top.not_yet(&["log_rotate_bytes", "log_rotate_duration", "log_rotate_max_files"], &mut self.warnings);
        top.finish(&mut self.warnings);
        Ok(())
    }

    fn add_environment(&mut self, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
        let get = |name: &str| {
            ["HOLDFAST", "VAULT"]
                .into_iter()
                .map(|prefix| format!("{prefix}_{name}"))
                .find_map(|name| environment(&name).filter(|value| !value.is_empty()).map(|value| (name, value)))
        };
        if let Some((_, address)) = get("API_ADDR") {
            self.api_addr = Some(address);
        }
        if let Some((_, address)) = get("CLUSTER_ADDR") {
            self.cluster.addr = Some(address);
        }
        if let Some((_, name)) = get("CLUSTER_NAME") {
            self.cluster_name = Some(name);
        }
        if let Some((_, file)) = get("LOG_FILE") {
            self.log_file = Some(PathBuf::from(file));
        }
        if let Some((_, level)) = get("LOG_LEVEL") {
            self.log_level = Some(level);
        }
        if let Some((name, off)) = get("DISABLE_USER_LOCKOUT") {
            let message = "true or false is needed".to_owned();
            self.lockouts.disabled = off.parse().map_err(|_| Error::Environment { name, message })?;
        }
        if let Some((name, format)) = get("LOG_FORMAT") {
            self.log_format = format.parse().map_err(|message| Error::Environment { name, message })?;
        }
        Ok(())
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |reason| Error::Read { path: path.to_owned(), reason };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_file() && file.extension().is_some_and(|extension| extension == "hcl" || extension == "json") {
            found.push(file);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Error::Incomplete(format!("{}: no .hcl and no .json file in this folder", path.display())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
