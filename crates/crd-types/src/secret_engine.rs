//! `SecretEngine`: a mount below the namespace's prefix, with its configuration and roles.

#![expect(clippy::duplicated_attributes, reason = "one printcolumn after another says name, type and path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A secret engine, mounted at `k8s/<namespace>/<name>`. Exactly one engine block says which.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "SecretEngine",
    namespaced,
    shortname = "se",
    category = "holdfast",
    status = "SecretEngineStatus",
    derive = "PartialEq",
    doc = "A secret engine of the Holdfast server, mounted at k8s/<namespace>/<name>. Exactly one engine block says which engine it is.",
    printcolumn(name = "Type", type_ = "string", json_path = ".status.type"),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.path"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("has(self.kv) != has(self.database)")
        .message(Message::Expression("'exactly one engine block is needed, found ' + (has(self.kv) && has(self.database) ? 'database and kv' : 'none of database, kv')".to_owned())),
    validation = Rule::new("has(self.kv) == has(oldSelf.kv) && has(self.database) == has(oldSelf.database)")
        .message("the type of an engine cannot be changed: delete the object, or make another")
)]
#[serde(rename_all = "camelCase")]
pub struct SecretEngineSpec {
    /// For people who list the mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,
    /// Key-value engine: static secrets, versioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvEngine>,
    /// Database engine: a user of its own for every pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseEngine>,
    /// Lease duration where a role names none: 1h, 90m, 3600.
    #[serde(default, rename = "defaultLeaseTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub default_lease_ttl: Option<String>,
    /// No lease of this engine lives longer, renewed or not.
    #[serde(default, rename = "maxLeaseTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub max_lease_ttl: Option<String>,
    /// What becomes of the mount when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What becomes of the mount when the SecretEngine is deleted. Revoke: every lease is revoked, then the mount goes with
/// all it holds, for kv with all secrets. Retain: every lease is revoked; the mount and what it holds stay, and a
/// SecretEngine of the same name and namespace takes them over. Orphan: nothing is touched; leases live until they end.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// Leases revoked, mount removed.
    #[default]
    Revoke,
    /// Leases revoked, mount kept.
    Retain,
    /// Nothing touched.
    Orphan,
}

/// Key-value engine.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KvEngine {
    /// 2 keeps versions (paths below data/ and metadata/), 1 does not.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 2))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the version of a kv engine cannot be changed: make another engine"))]
    pub version: u8,
}

/// Database engine: one connection, and roles that say what the users it makes may do.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseEngine {
    /// A PostgreSQL server.
    pub postgresql: PostgresqlConnection,
    /// Kinds of users. A role that is taken out of the list is deleted; users made from it live until their leases end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub roles: Vec<DatabaseRole>,
}

/// How to reach a PostgreSQL server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PostgresqlConnection {
    /// postgresql://{{username}}:{{password}}@host:5432/database?sslmode=verify-full; the placeholders are filled from
    /// rootCredentialsRef.
    #[serde(rename = "connectionURL")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self.startsWith('postgresql://') || self.startsWith('postgres://')")
            .message("connectionURL must start with postgresql://"),
        validation = Rule::new("!self.matches('^[a-z]+://[^/?]*:[^/?{]+@')")
            .message("connectionURL must not hold a password: write {{username}}:{{password}}, they come from rootCredentialsRef")
    )]
    pub connection_url: String,
    /// A Secret of this namespace with the keys username and password (and, with TLS of one's own, ca.crt) of a user that
    /// may create roles.
    pub root_credentials_ref: SecretRef,
    /// Give the root user a new password, known to the server only, once it has been used. The Secret is then out of date
    /// and only read again when it changes.
    #[serde(default)]
    pub rotate_root: bool,
    /// Key of a CA certificate (PEM) in the Secret of rootCredentialsRef, for sslmode=verify-ca and verify-full.
    #[serde(default, rename = "tlsCAKey", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub tls_ca_key: Option<String>,
    /// Most connections that are open at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub max_open_connections: Option<u32>,
    /// Template of the names of the users that are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub username_template: Option<String>,
    /// Log in to the database before the configuration is accepted.
    #[serde(default = "yes")]
    pub verify_connection: bool,
}

/// A kind of database user.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("!has(self.defaultTTL) || !has(self.maxTTL) || !self.defaultTTL.matches('^([0-9]+(s|m|h))+$') || !self.maxTTL.matches('^([0-9]+(s|m|h))+$') || duration(self.defaultTTL) <= duration(self.maxTTL)").message("defaultTTL must not be more than maxTTL"))]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRole {
    /// Name, as in k8s/<namespace>/<engine>/creds/<name>.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$"))]
    pub name: String,
    /// SQL that makes a user; {{name}}, {{password}} and {{expiration}} are filled in.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 8192)))]
    pub creation_statements: Vec<String>,
    /// SQL that removes a user; without it the engine's own is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 8192)))]
    pub revocation_statements: Vec<String>,
    /// SQL that runs when a lease is renewed; without it the engine's own is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 8192)))]
    pub renew_statements: Vec<String>,
    /// First duration of a lease: 1h, 90m, 3600.
    #[serde(default, rename = "defaultTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub default_ttl: Option<String>,
    /// No lease of this role lives longer, renewed or not.
    #[serde(default, rename = "maxTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub max_ttl: Option<String>,
}

/// A Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretEngineStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Engine that is mounted: kv or database.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Where it is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Keyed hash of the connection and the root credentials that the server was given last; unchanged input is not sent
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_hash: Option<String>,
    /// Keyed hash of the root credentials after which the server gave the root user a password of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_root: Option<String>,
    /// Roles that the operator has written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Ready, Drifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

impl SecretEngineSpec {
    /// `kv` or `database`; `None` for what the API server would have refused.
    pub fn engine(&self) -> Option<&'static str> {
        match (&self.kv, &self.database) {
            (Some(_), None) => Some("kv"),
            (None, Some(_)) => Some("database"),
            _ => None,
        }
    }
}

fn two() -> u8 {
    2
}

fn yes() -> bool {
    true
}
