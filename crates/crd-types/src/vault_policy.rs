//! `VaultPolicy`: what may be done, and by which service accounts.

#![expect(clippy::duplicated_attributes, reason = "one printcolumn after another says name, type and path")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may be done on the server, and by whom.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "VaultPolicy",
    plural = "vaultpolicies",
    namespaced,
    shortname = "vp",
    category = "holdfast",
    status = "VaultPolicyStatus",
    derive = "PartialEq",
    doc = "What may be done on the Holdfast server below k8s/<namespace>/, and by which service accounts of the namespace.",
    printcolumn(name = "Rules", type_ = "integer", json_path = ".status.rules"),
    printcolumn(name = "Subjects", type_ = "integer", json_path = ".status.subjects"),
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
#[x_kube(validation = Rule::new("has(self.rules) != has(self.hcl)").message("give either rules or hcl"))]
#[serde(rename_all = "camelCase")]
pub struct VaultPolicySpec {
    /// What may be done. Paths are below k8s/<namespace>/; rules that name an engine are relative to its mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub rules: Vec<PolicyRule>,
    /// A whole policy in Vault's language, instead of rules. Every path in it must be below k8s/<namespace>/.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub hcl: Option<String>,
    /// Service accounts that the policy applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["serviceAccount".to_owned()]))]
    pub subjects: Vec<Subject>,
    /// Lifetime of the logins of its subjects: 1h, 90m, 3600. 1h otherwise. Where several policies name a service account,
    /// the shortest counts, unless the login names one policy as its role.
    #[serde(default, rename = "tokenTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$"))]
    pub token_ttl: Option<String>,
}

/// Capabilities on a path.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Name of a SecretEngine of this namespace that the path is relative to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub engine: Option<String>,
    /// Path: below the engine's mount, or whole (k8s/<namespace>/…). A trailing * matches any rest, + one segment.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// What may be done.
    #[schemars(length(min = 1, max = 8))]
    pub capabilities: Vec<Capability>,
}

/// What may be done on a path.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Write what is not there.
    Create,
    /// Read.
    Read,
    /// Write what is there.
    Update,
    /// Change parts.
    Patch,
    /// Delete.
    Delete,
    /// List names.
    List,
    /// List names recursively.
    Scan,
    /// Nothing, whatever other policies say.
    Deny,
}

/// Who the policy applies to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Name of a service account of this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub service_account: String,
}

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VaultPolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Name of the policy on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Name of the auth role of the subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Number of paths that the policy speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<i64>,
    /// Number of service accounts that it applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects: Option<i64>,
    /// Service accounts whose role the operator has written for this policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
    /// Ready, Drifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

impl Capability {
    /// The word of Vault's policy language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Deny => "deny",
        }
    }
}
