//! What is stored of a token, and how it is shown.

use std::{collections::BTreeMap, time::Duration};

use holdfast_logical::{Grant, Namespace, PodIdentity, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A service token. Durations in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    /// Names the token without being it.
    pub accessor: String,
    /// Id of the namespace that it belongs to: its policies are those of that name there.
    #[serde(default = "Namespace::root_id")]
    pub namespace: String,
    /// Hash of the parent; none for orphans.
    pub parent: Option<String>,
    /// Sorted, without duplicates, lower case.
    pub policies: Vec<String>,
    /// Path that made it.
    pub path: String,
    /// From the creator or the auth method.
    pub metadata: Option<BTreeMap<String, String>>,
    /// For people and names of created users.
    pub display_name: String,
    /// Uses left; none is unlimited.
    pub uses: Option<u64>,
    /// When it was made.
    pub created: Timestamp,
    /// TTL at creation; 0 for ever.
    pub creation_ttl: u64,
    /// End unless renewed; none is never.
    pub expires: Option<Timestamp>,
    /// Last renewal.
    pub renewed: Option<Timestamp>,
    /// Hard end of its life after creation; 0 is none.
    pub explicit_max_ttl: u64,
    /// Renewals give this much for ever; 0 is not periodic.
    pub period: u64,
    /// May it be renewed?
    pub renewable: bool,
    /// Addresses it may come from; empty is any.
    pub bound_cidrs: Vec<String>,
    /// Entity behind it, or empty.
    pub entity_id: String,
    /// Token role that made it, or empty.
    pub role: String,
    /// Uuid of the auth mount that made it.
    pub mount: String,
    /// What the auth method granted, to be asked about at renewal.
    pub grant: Option<Grant>,
    /// The pod it was issued to.
    pub pod: Option<PodIdentity>,
    /// Set on wrapping tokens.
    pub wrapped: Option<Wrapped>,
    /// Is it a batch token? Those are not stored.
    #[serde(default, skip)]
    pub batch: bool,
}

/// What a wrapping token wraps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wrapped {
    /// Path whose answer is wrapped.
    pub creation_path: String,
    /// Seconds.
    pub ttl: u64,
    /// Content-Type of a body that is not the envelope.
    pub content_type: Option<String>,
}

impl Token {
    /// What the server itself acts with while it initialises itself; never stored.
    pub(crate) fn server(now: Timestamp) -> Self {
        Self {
            policies: vec![holdfast_policy::ROOT.to_owned()],
            display_name: "initialize".to_owned(),
            ..Self::empty(now)
        }
    }

    /// A token without policies and without end.
    pub(super) fn empty(now: Timestamp) -> Self {
        Self {
            accessor: String::new(),
            namespace: Namespace::root_id(),
            parent: None,
            policies: Vec::new(),
            path: String::new(),
            metadata: None,
            display_name: String::new(),
            uses: None,
            created: now,
            creation_ttl: 0,
            expires: None,
            renewed: None,
            explicit_max_ttl: 0,
            period: 0,
            renewable: false,
            bound_cidrs: Vec::new(),
            entity_id: String::new(),
            role: String::new(),
            mount: String::new(),
            grant: None,
            pod: None,
            wrapped: None,
            batch: false,
        }
    }

    /// One that nobody holds, to be asked what it might do.
    pub(crate) fn imagined(policies: Vec<String>, entity_id: String, now: Timestamp) -> Self {
        Self { policies, entity_id, ..Self::empty(now) }
    }

    /// Does it hold the policy `root`?
    pub fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == holdfast_policy::ROOT)
    }

    /// `service` or `batch`.
    pub fn kind(&self) -> &'static str {
        if self.batch { "batch" } else { "service" }
    }

    /// Time left; none for one that never ends.
    pub fn ttl(&self, now: Timestamp) -> Option<Duration> {
        let left = self.expires?.duration_since(now);
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Seconds left, rounded up as people expect of a fresh token; 0 for one that never ends.
    pub fn ttl_seconds(&self, now: Timestamp) -> u64 {
        self.ttl(now).map_or(0, seconds_up)
    }

    /// Is it past its end?
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// As `lookup` shows it; `id` is empty when it is asked for by accessor.
    /// `identity` are the policies that the token has by its entity.
    pub fn show(&self, id: &str, identity: &[String], now: Timestamp) -> Map<String, Value> {
        let shown = json!({
            "id": id,
            "accessor": self.accessor,
            "policies": self.policies,
            "path": self.path,
            "meta": self.metadata,
            "display_name": self.display_name,
            "num_uses": self.uses.unwrap_or(0),
            "orphan": self.parent.is_none(),
            "creation_time": self.created.as_second(),
            "creation_ttl": self.creation_ttl,
            "expire_time": self.expires.map(|expires| expires.to_string()),
            "explicit_max_ttl": self.explicit_max_ttl,
            "ttl": self.ttl_seconds(now),
            "entity_id": self.entity_id,
            "type": self.kind(),
            "issue_time": self.created.to_string(),
            "renewable": self.renewable,
        });
        let Value::Object(mut shown) = shown else { return Map::new() };
        if let Some(renewed) = self.renewed {
            shown.insert("last_renewal".into(), json!(renewed.to_string()));
            shown.insert("last_renewal_time".into(), json!(renewed.as_second()));
        }
        if !identity.is_empty() {
            shown.insert("identity_policies".into(), json!(identity));
        }
        if self.period > 0 {
            shown.insert("period".into(), json!(self.period));
        }
        if !self.role.is_empty() {
            shown.insert("role".into(), json!(self.role));
        }
        if !self.bound_cidrs.is_empty() {
            shown.insert("bound_cidrs".into(), json!(self.bound_cidrs));
        }
        shown
    }
}

/// Whole seconds, rounded up.
pub fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
