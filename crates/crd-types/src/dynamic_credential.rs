//! `DynamicCredential`: a credential of a role of an engine, for pods (by CSI and injection) and for a Secret.

#![expect(clippy::duplicated_attributes, reason = "one printcolumn after another says name, type and path")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A credential that is made on demand, renewed, rotated and revoked.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "DynamicCredential",
    namespaced,
    shortname = "dcred",
    category = "holdfast",
    status = "DynamicCredentialStatus",
    derive = "PartialEq",
    selectable = ".spec.engineRef.name",
    doc = "A credential that is made on demand from a role of a SecretEngine. Pods get one each, by CSI volume or injection; with a target, one is kept in a Secret.",
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engineRef.name"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.lease.expiresAt"),
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
#[x_kube(validation = Rule::new("!has(self.rollout) || has(self.target)").message("rollout needs a target: pods that get their credential by CSI or injection see the change without a restart"))]
#[serde(rename_all = "camelCase")]
pub struct DynamicCredentialSpec {
    /// The SecretEngine, in this namespace.
    pub engine_ref: EngineRef,
    /// Role of the engine.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$"))]
    pub role: String,
    /// Duration of the lease: 1h, 90m, 3600. At most the role's maximum; the role's default otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub ttl: Option<String>,
    /// Where to keep a credential. Without it only CSI volumes and injection use this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What to do when the credential in the target is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// A SecretEngine of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct EngineRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where the operator keeps a credential.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A Secret of this namespace; made and owned by this object.
    pub secret: SecretTarget,
}

/// A Secret that holds the credential.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretTarget {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Keys of the Secret, each a Go template over the fields of the credential: {{ .username }}. Without it there is one
    /// key for each field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template: BTreeMap<String, String>,
}

/// What to do when the credential in the target is replaced.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Workloads of this namespace that are restarted, as kubectl rollout restart does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub restart: Vec<RestartTarget>,
    /// How one credential follows another.
    #[serde(default)]
    pub strategy: RolloutStrategy,
    /// How long the old credential stays valid after the new one is in the target.
    #[serde(default = "five_minutes")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub overlap: String,
}

/// A workload.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct RestartTarget {
    /// Its kind.
    pub kind: RestartKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds of workloads that can be restarted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
}

/// How one credential follows another.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutStrategy {
    /// The new credential is in the target before the old one is revoked.
    #[default]
    MakeBeforeBreak,
}

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DynamicCredentialStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Path on the server that credentials are read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// secret/<name>, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Number of the current credential: counted up before one is made, so that a restart finds it instead of making
    /// another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<i64>,
    /// Lease of the current credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// Credentials that were replaced and are not revoked yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<PreviousCredential>,
    /// Value of the annotation holdfast.dev/rotate that was carried out last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_handled: Option<String>,
    /// Ready, LeaseActive, Rotating, Drifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Times of a lease. Its id is not shown.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// When the credential was made.
    pub issued_at: Time,
    /// When it will be renewed, about.
    pub renew_at: Time,
    /// When it ends unless renewed.
    pub expires_at: Time,
    /// When it ends, renewed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_expires_at: Option<Time>,
    /// Number of renewals.
    #[serde(default)]
    pub renewals: i64,
}

/// A credential that was replaced.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreviousCredential {
    /// Its number.
    pub credential: i64,
    /// When it is revoked.
    pub revoke_at: Time,
}

fn five_minutes() -> String {
    "5m".to_owned()
}
