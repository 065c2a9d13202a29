//! What the server gives to the core.

use std::{sync::Arc, time::Duration};

use holdfast_barrier::Barrier;
use holdfast_logical::{Clock, Entropy};
use holdfast_seal::Seal;
use serde_json::{Map, Value};

use crate::{Metrics, Process, Registry, Verb, admission, audit::AuditConfig, lockout::Lockouts};

/// Everything that a core is made of. Nothing is read from files or the environment below here.
pub struct CoreConfig {
    /// The encrypted store, sealed or open.
    pub barrier: Arc<Barrier>,
    /// How the root key is kept.
    pub seal: Arc<dyn Seal>,
    /// The one that it was kept with before, until people have changed it: `disabled` in the configuration.
    pub previous_seal: Option<Arc<dyn Seal>>,
    /// Secret engines and auth methods of this build.
    pub registry: Registry,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Opens an audit device: [`holdfast_audit::Device::open`] but in tests.
    pub open_audit: OpenAudit,
    /// Audit devices of the configuration, and where files may be.
    pub audit: AuditConfig,
    /// What the core asks of the process.
    pub process: Arc<dyn Process>,
    /// Serve `sys/raw`.
    pub raw_storage: bool,
    /// Counters and gauges, registered by the server.
    pub metrics: Metrics,
    /// TTL of leases and tokens that ask for none; Vault's default is 768 h.
    pub default_lease_ttl: Duration,
    /// Longest life of leases and tokens; Vault's default is 768 h.
    pub max_lease_ttl: Duration,
    /// How many failed logins lock a user out.
    pub lockouts: Lockouts,
    /// How many requests are worked on at a time.
    pub limits: admission::Limits,
    /// Empty: made up at initialisation.
    pub cluster_name: String,
    /// Semantic version of this server. What clients are told is [`holdfast_api_types::VAULT_VERSION`].
    pub version: String,
    /// RFC 3339.
    pub build_date: String,
    /// `etcd`, `file`, `inmem`.
    pub storage_kind: String,
    /// Address that clients reach this replica at, for `sys/leader` and `sys/ha-status`.
    pub api_addr: String,
    /// Name of this replica, for `sys/ha-status`.
    pub hostname: String,
    /// Requests that a new server runs itself, in order. Needs a seal with stored keys.
    pub initialize: Vec<InitStep>,
}

/// Opens an audit device of the table.
pub type OpenAudit = fn(holdfast_audit::DeviceSpec) -> Result<holdfast_audit::Device, holdfast_audit::OpenError>;

/// [`OpenAudit`] of a real server.
pub const OPEN_AUDIT: OpenAudit = holdfast_audit::Device::open;

/// One request of an `initialize` stanza. Run as root when the server initialises itself; run again after a crash, so
/// it must be one that may be repeated (a mount that is there already is not an error).
#[derive(Clone, Debug)]
pub struct InitStep {
    /// `<stanza>/<request>`, for logs and the audit log.
    pub name: String,
    /// `Write` for `create` and `update`.
    pub verb: Verb,
    /// Without `/v1/`.
    pub path: String,
    /// Body.
    pub data: Map<String, Value>,
}

/// Vault's default for both lease TTLs.
pub const SYSTEM_TTL: Duration = Duration::from_secs(768 * 3600);
