//! What is stored of a lease, and where.
//!
//! ```text
//! id/<lease id>                     Record of the root namespace
//! ns/<namespace id>/<lease id>      Record of another one
//! intent/<serial>                   Intent
//! due/<minute>/<ms>-<x><name>       Entry: the expiry index
//! token/<token hash>/<serial>       lease id: what dies with a token
//! own/<kind>/<uid>/<serial>         lease id: what dies with an owner
//! bind/<kind>/<uid>/<item hash>     Bound: the current credential of an item
//! dead/<kind>/<uid>                 tombstone of a released owner
//! ```
//! The serial is the last segment of the lease id: 24 base62 characters, unique, and `.<namespace id>` where that is not
//! the root namespace. Owners of such a one are `<kind>@<namespace id>/<uid>`.

use std::time::Duration;

use holdfast_base::{Entropy, Timestamp, id};
use holdfast_logical::Namespace;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{Binding, OUTSIDE_DEADLINE};

/// A credential that exists, or may exist, outside.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    /// `<request path>/<serial>`.
    pub id: String,
    /// Mount that revokes it.
    pub mount_uuid: String,
    /// What `renew` and `revoke` of the backend get.
    pub internal: Map<String, Value>,
    /// The answer, kept for bound leases only, so that a re-read gives the same credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// When it was made.
    pub issue_time: Timestamp,
    /// When it is to be revoked.
    pub expire_time: Timestamp,
    /// When it was last renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_renewal: Option<Timestamp>,
    /// May it be renewed?
    pub renewable: bool,
    /// `max_ttl` that the engine gave at the start, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_ms: Option<u64>,
    /// Hard end, of leases that a batch token asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Owner token, unless bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    /// Owner and item, if bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Time of its entry in the expiry index.
    pub due: Timestamp,
    /// Set from the first attempt to revoke it; never unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoking: Option<Revoking>,
}

/// How far a revocation is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Revoking {
    /// Attempts begun.
    pub attempts: u32,
    /// Nobody else tries before this time.
    pub claimed_until: Option<Timestamp>,
    /// What the last attempt failed with.
    pub error: Option<String>,
}

/// A credential that is being made.
#[derive(Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Lease id that it will have.
    pub id: String,
    /// Mount that revokes it.
    pub mount_uuid: String,
    /// What `revoke` of the backend gets.
    pub internal: Map<String, Value>,
    /// Request that asked.
    pub request_id: String,
    /// Member of the cluster that makes it, as far as that was sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    /// When it was begun.
    pub begun: Timestamp,
    /// Time of its entry in the expiry index.
    pub due: Timestamp,
    /// Set when its maker was given up; its maker cannot record the lease any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned: Option<Timestamp>,
    /// Revocations that succeeded since.
    #[serde(default)]
    pub swept: u32,
    /// Revocations in a row that failed.
    #[serde(default)]
    pub failures: u32,
}

/// The last segment of a lease id.
pub(crate) fn serial(lease_id: &str) -> &str {
    lease_id.rsplit('/').next().unwrap_or(lease_id)
}

/// A new serial.
pub(crate) fn new_serial(entropy: &dyn Entropy, namespace: &Namespace) -> String {
    format!("{}{}", id::base62(entropy, 24), namespace.suffix())
}

/// Id of the namespace that a lease is of; none: the root namespace.
pub(crate) fn namespace(lease_id: &str) -> Option<&str> {
    serial(lease_id).rsplit_once('.').map(|(_, namespace)| namespace)
}

/// Could it be a lease id: relative, without empty segments?
pub(crate) fn well_formed(lease_id: &str) -> bool {
    !lease_id.is_empty() && lease_id.len() <= 2_048 && !lease_id.split('/').any(str::is_empty)
}

/// Where the record is.
pub(crate) fn path(lease_id: &str) -> String {
    match namespace(lease_id) {
        Some(namespace) => format!("ns/{namespace}/{lease_id}"),
        None => format!("id/{lease_id}"),
    }
}

/// Where the intent is.
pub(crate) fn intent_path(serial: &str) -> String {
    format!("intent/{serial}")
}

/// Where the index entry of a token's lease is.
pub(crate) fn token_path(token_hash: &str, serial: &str) -> String {
    format!("token/{token_hash}/{serial}")
}

/// Where the index entry of an owner's lease is.
pub(crate) fn owner_path(owner: &str, serial: &str) -> String {
    format!("own/{owner}/{serial}")
}

/// Time from `now` to `then`, zero if past.
pub(crate) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// `now` plus a duration, at most the end of time.
pub(crate) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// A time until somebody else takes over what was begun. Tests of crashes do not wait for it.
pub(crate) fn soon(time: Duration) -> Duration {
    if holdfast_failpoint::switched!("lease.soon") { time.min(Duration::from_secs(2)) } else { time }
}

/// How long outside work is waited for. A test of a slow database waits less.
pub(crate) fn outside_deadline() -> Duration {
    if holdfast_failpoint::switched!("lease.impatient") { Duration::from_secs(3) } else { OUTSIDE_DEADLINE }
}

impl Record {
    /// Time left.
    pub fn ttl(&self, now: Timestamp) -> Duration {
        until(now, self.expire_time)
    }

    /// The TTL shortened so that the lease does not pass its hard end.
    pub fn within(&self, now: Timestamp, ttl: Duration) -> Duration {
        self.not_after.map_or(ttl, |end| ttl.min(until(now, end)))
    }

    /// Is it in use: neither expired nor being revoked?
    pub fn live(&self, now: Timestamp) -> bool {
        self.revoking.is_none() && self.expire_time > now
    }
}
