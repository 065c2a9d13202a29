//! JSON bodies of the Vault HTTP API, shared by server and clients. Data only; leaf crate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of Vault whose behaviour the API follows. Clients and providers choose features by the version that
/// `sys/health` and `sys/seal-status` tell, so it is this one; the server's own stands beside it as `holdfast_version`.
pub const VAULT_VERSION: &str = "1.14.8";

/// The same of plug-ins, which are all built in.
pub const PLUGIN_VERSION: &str = "v1.14.8+builtin";

/// The body of nearly every 200 answer. All keys are always present.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<D = Map<String, Value>> {
    /// UUID of the request; empty on wrapped answers.
    #[serde(default)]
    pub request_id: String,
    /// Lease of the credential in `data`, or empty.
    #[serde(default)]
    pub lease_id: String,
    /// May the lease be renewed?
    #[serde(default)]
    pub renewable: bool,
    /// Seconds.
    #[serde(default)]
    pub lease_duration: u64,
    /// What was asked for.
    pub data: Option<D>,
    /// Set when the answer was wrapped; then everything else is empty.
    #[serde(default)]
    pub wrap_info: Option<WrapInfo>,
    /// For people.
    #[serde(default)]
    pub warnings: Option<Vec<String>>,
    /// Set on logins and token creation.
    #[serde(default)]
    pub auth: Option<AuthInfo>,
    /// Type of the mount that answered.
    #[serde(default)]
    pub mount_type: String,
}

impl<D> Default for Envelope<D> {
    fn default() -> Self {
        Self {
            request_id: String::new(),
            lease_id: String::new(),
            renewable: false,
            lease_duration: 0,
            data: None,
            wrap_info: None,
            warnings: None,
            auth: None,
            mount_type: String::new(),
        }
    }
}

/// `auth` of the envelope.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthInfo {
    /// The token.
    pub client_token: String,
    /// Names the token without being it.
    pub accessor: String,
    /// Sorted, without duplicates.
    pub policies: Vec<String>,
    /// Those of the token itself.
    pub token_policies: Vec<String>,
    /// Those of the entity.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity_policies: Vec<String>,
    /// From the auth method.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Seconds.
    pub lease_duration: u64,
    /// May the token be renewed?
    pub renewable: bool,
    /// Entity behind the token.
    pub entity_id: String,
    /// `service` or `batch`.
    pub token_type: String,
    /// Has it no parent?
    pub orphan: bool,
    /// Not used yet; null.
    pub mfa_requirement: Option<Value>,
    /// Uses left at creation; 0 is unlimited.
    pub num_uses: u64,
}

impl std::fmt::Debug for AuthInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthInfo")
            .field("accessor", &self.accessor)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}

/// `wrap_info` of the envelope.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WrapInfo {
    /// The wrapping token.
    pub token: String,
    /// Its accessor.
    pub accessor: String,
    /// Seconds.
    pub ttl: u64,
    /// RFC 3339 with nanoseconds.
    pub creation_time: String,
    /// Path that was wrapped.
    pub creation_path: String,
    /// Accessor of a wrapped token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wrapped_accessor: String,
}

impl std::fmt::Debug for WrapInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrapInfo").field("accessor", &self.accessor).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The body of every error answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ErrorBody {
    /// May be empty.
    #[serde(default)]
    pub errors: Vec<String>,
    /// Rarely, more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// `sys/seal-status` and `sys/unseal`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SealStatus {
    /// Seal type: `shamir`, `static` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Was `sys/init` done?
    pub initialized: bool,
    /// Is the keyring out of memory?
    pub sealed: bool,
    /// Shares needed.
    pub t: u64,
    /// Shares made.
    pub n: u64,
    /// Shares given so far.
    pub progress: u64,
    /// Of the running unseal attempt.
    pub nonce: String,
    /// [`VAULT_VERSION`].
    pub version: String,
    /// Version of the server itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub holdfast_version: String,
    /// RFC 3339.
    pub build_date: String,
    /// Is a seal migration running?
    pub migration: bool,
    /// Only unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// Only unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    /// Are there recovery keys instead of unseal keys?
    pub recovery_seal: bool,
    /// `etcd`, `file`, `inmem`.
    pub storage_type: String,
    /// Why a server that unseals itself is not open yet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `sys/health`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Was `sys/init` done?
    pub initialized: bool,
    /// Is the keyring out of memory?
    pub sealed: bool,
    /// True for sealed servers only: every unsealed replica serves.
    pub standby: bool,
    /// Always false.
    pub performance_standby: bool,
    /// `disabled`.
    pub replication_performance_mode: String,
    /// `disabled`.
    pub replication_dr_mode: String,
    /// Unix seconds.
    pub server_time_utc: i64,
    /// [`VAULT_VERSION`].
    pub version: String,
    /// Version of the server itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub holdfast_version: String,
    /// Only unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// Only unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    /// Always false.
    pub enterprise: bool,
    /// Milliseconds between wall clock and store; 0.
    pub clock_skew_ms: i64,
    /// 0.
    pub echo_duration_ms: i64,
    /// 0.
    pub replication_primary_canary_age_ms: i64,
}

/// Body of `PUT sys/init`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InitRequest {
    /// Unseal shares (seals without stored keys).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_shares: Option<u64>,
    /// How many of them unseal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_threshold: Option<u64>,
    /// Recovery shares (seals with stored keys).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_shares: Option<u64>,
    /// How many of them recover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_threshold: Option<u64>,
    /// PGP keys that the unseal shares are encrypted to, base64, one for each share or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pgp_keys: Vec<String>,
    /// The same for the recovery shares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovery_pgp_keys: Vec<String>,
    /// PGP key that the root token is encrypted to, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_token_pgp_key: Option<String>,
}

/// Answer of `PUT sys/init`. Shown once.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InitResponse {
    /// Unseal shares, hexadecimal.
    pub keys: Vec<String>,
    /// Unseal shares, base64.
    pub keys_base64: Vec<String>,
    /// Recovery shares, hexadecimal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovery_keys: Vec<String>,
    /// Recovery shares, base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovery_keys_base64: Vec<String>,
    /// The first token; empty where the configuration has `initialize` stanzas.
    pub root_token: String,
}

impl std::fmt::Debug for InitResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitResponse").field("shares", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Request headers of the protocol.
pub mod header {
    /// The token.
    pub const TOKEN: &str = "x-vault-token";
    /// Relative namespace.
    pub const NAMESPACE: &str = "x-vault-namespace";
    /// Asks for a wrapped answer.
    pub const WRAP_TTL: &str = "x-vault-wrap-ttl";
    /// Sent by every client; guards agents against server-side request forgery.
    pub const REQUEST: &str = "x-vault-request";
    /// Holdfast: find or make *the* credential of this item instead of a new one. The owner is the token's pod, or
    /// [`OWNER`].
    pub const ITEM: &str = "x-holdfast-item";
    /// Holdfast: `kind/uid` of the owner of the item; needs `update` on `sys/bindings/<kind>/<uid>/<item>`.
    pub const OWNER: &str = "x-holdfast-owner";
    /// Holdfast: lease id of the item's credential that is to be replaced; if the item has another one by now, that is
    /// answered and none is made.
    pub const REPLACE: &str = "x-holdfast-replace";
}
