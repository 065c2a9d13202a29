//! Leases: what was given out, until when, and how it is taken back.
//!
//! A credential outside is never without a record inside. [`Leases::issue`] stores an *intent*, runs the engine's
//! outside work, and replaces the intent by the [`Record`] in one commit; revocation does the outside work first and
//! deletes the record last. Every record, intent, token and tombstone has one entry in an expiry index by minute
//! ([`due`]), so a start loads what is due and nothing else. Every replica runs the worker on the shares of the index
//! that it has claimed; compares on the claim and on the record decide who revokes, and revoking twice is harmless.

pub(crate) mod due;
mod fsck;
mod intent;
mod issue;
pub mod limits;
mod list;
pub(crate) mod record;
mod renew;
mod revoke;
#[cfg(test)]
mod tests;
pub mod tidy;
mod time;
mod worker;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use holdfast_barrier::view::{Revision, StoreError, Txn, View};
use holdfast_base::{Clock, Entropy, Timestamp};
use holdfast_logical::{Backend, Data, MountInfo};
use parking_lot::Mutex;

pub use self::{
    fsck::Fsck,
    list::{Folder, LeaseInfo},
    revoke::{Revocations, Revoked},
};
use self::{record::Record, time::Time};

/// Outside work is given up after this long; whatever it did is undone by a revocation.
pub const OUTSIDE_DEADLINE: Duration = Duration::from_secs(30);

/// The mounts and the token store, as leases need them. The core implements it.
#[async_trait]
pub trait Backends: Send + Sync + 'static {
    /// The mount with this uuid and its backend; `None` when it is not there (any more).
    fn by_mount(&self, mount_uuid: &str) -> Option<(Arc<MountInfo>, Arc<dyn Backend>)>;

    /// The uuid of the mount that a lease is of, if its id says that.
    fn mount_of(&self, _lease_id: &str) -> Option<String> {
        None
    }

    /// The replicas that are unsealed; `None`: there are none but this one.
    async fn members(&self) -> Result<Option<Members>, StoreError> {
        Ok(None)
    }

    /// Revokes the token if it is really past its end; a token that is not there or lives longer by now is no error.
    async fn expire_token(&self, token_hash: &str) -> Result<(), holdfast_logical::Error>;
}

/// The replicas that are unsealed, by ids that are never used twice.
#[derive(Clone, Debug)]
pub struct Members {
    /// This one.
    pub own: String,
    /// All of them.
    pub all: Vec<String>,
}

/// What asks for a credential.
#[derive(Debug)]
pub struct IssueContext {
    /// Mount that made the [`holdfast_logical::Issue`].
    pub mount: Arc<MountInfo>,
    /// For the intent, so that an audit entry can be found from it.
    pub request_id: String,
    /// Path within the namespace, with the mount's: `database/creds/app`. The lease id begins with it.
    pub request_path: String,
    /// Owner token; the lease dies with it. Not used for bound leases, which outlive logins.
    pub token_hash: Option<String>,
    /// When it ends at the latest, whatever renewals ask for: the end of the batch token that asked. Not used for bound
    /// leases.
    pub not_after: Option<Timestamp>,
    /// Owner and item when the credential is *the* one of an item instead of a new one.
    pub binding: Option<Binding>,
    /// Lease id that is to be replaced; see [`Leases::issue`].
    pub replace: Option<String>,
    /// Checks that must hold when the credential is recorded (token still there, mount unchanged). What it
    /// deletes goes in that commit too; its other writes are ignored.
    pub guards: Txn,
}

/// Whose credential, and which of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Binding {
    /// `kind/uid`: `pod/<uid>`, `dcred/<uid>`; in other namespaces than the root one `kind@<namespace id>/uid`.
    pub owner: String,
    /// Chosen by the client, stable over restarts; any text up to 1,024 bytes.
    pub item: String,
}

/// A credential and its lease, ready to be answered.
#[derive(Debug)]
pub struct Leased {
    /// `<request path>/<24 base62>`, with `.<namespace id>` unless that is the root namespace.
    pub lease_id: String,
    /// Time left.
    pub ttl: Duration,
    /// May it be renewed?
    pub renewable: bool,
    /// `data` of the answer.
    pub data: Data,
    /// About capped TTLs.
    pub warnings: Vec<String>,
    /// Revision that the answer depends on; 0 if nothing was written.
    pub revision: Revision,
    /// Was it found rather than made?
    pub found: bool,
}

/// What a renewal gave.
#[derive(Debug)]
pub struct Renewed {
    /// The lease.
    pub lease_id: String,
    /// Time left.
    pub ttl: Duration,
    /// May it be renewed again?
    pub renewable: bool,
    /// About capped TTLs.
    pub warnings: Vec<String>,
    /// Revision that the answer depends on.
    pub revision: Revision,
}

/// Why a lease operation was not done. Becomes a [`holdfast_logical::Error`] with Vault's texts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `sys/leases/lookup` of an unknown id: 400.
    #[error("invalid lease")]
    Invalid,
    /// Renewal of an unknown id: 400.
    #[error("lease not found")]
    NotFound,
    /// Renewal after the end: 400.
    #[error("lease expired")]
    Expired,
    /// Renewal of a lease whose revocation has failed so far: 400.
    #[error("lease is expired and has failed previous revocation attempts")]
    Irrevocable,
    /// 400.
    #[error("lease is not renewable")]
    NotRenewable,
    /// Renewal past issue time + max: 400.
    #[error("past the max TTL, cannot renew")]
    PastMax,
    /// Owner or item is malformed: 400.
    #[error("{0}")]
    BadBinding(&'static str),
    /// The owner was released; nothing more is made for it: 403.
    #[error("the owner {0:?} was released: no more credentials are issued to it")]
    Released(String),
    /// Token, mount or binding changed while the credential was made; it was taken back: 503.
    #[error("the token or the mount changed while the credential was made; it was revoked, try again")]
    Raced,
    /// Something is made at this moment in what is to go: 503.
    #[error("a credential is being made, or its maker died less than a minute ago; try again")]
    Making,
    /// Outside work took longer than [`OUTSIDE_DEADLINE`]; it was revoked: 503.
    #[error("the outside system did not answer in {} s", OUTSIDE_DEADLINE.as_secs())]
    Timeout,
    /// The mount that made the lease is not there: 500.
    #[error("the mount of the lease is gone; revoke it with force")]
    MountGone,
    /// What the engine said.
    #[error(transparent)]
    Backend(#[from] holdfast_logical::Error),
    /// What the store said.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All leases of this server.
pub struct Leases {
    view: View,
    entropy: Arc<dyn Entropy>,
    backends: Arc<dyn Backends>,
    time: Time,
    making: Making,
    /// Nothing is revoked by itself: the store was restored, and what it holds may be older than the world.
    held: AtomicBool,
}

/// One lock per item that a credential is being made for on this replica, so that two requests do not both make one.
/// (On two replicas both do; the commit tells, and the loser takes its own back.)
type Making = Mutex<HashMap<Binding, Arc<tokio::sync::Mutex<()>>>>;

// === impl Leases ===

impl Leases {
    /// All leases below `view`. Nothing is read before [`Leases::run`] or a call.
    pub fn new(view: View, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, backends: Arc<dyn Backends>) -> Arc<Self> {
        let time = Time::new(clock);
        Arc::new(Self { view, entropy, backends, time, making: Making::default(), held: AtomicBool::new(false) })
    }

    /// Holds back whatever happens to leases, tokens and intents by time alone, or lets it happen again.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Is it held back?
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Now, as leases count it: steady over jumps of the wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) async fn record(&self, lease_id: &str) -> Result<Option<(Record, Revision)>, StoreError> {
        if !record::well_formed(lease_id) {
            return Ok(None);
        }
        self.view.get_json(&record::path(lease_id)).await
    }
}

impl From<Error> for holdfast_logical::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid
            | Error::NotFound
            | Error::Expired
            | Error::Irrevocable
            | Error::NotRenewable
            | Error::PastMax
            | Error::BadBinding(_) => Self::Invalid(error.to_string()),
            Error::Released(_) => Self::Denied(error.to_string()),
            Error::Raced | Error::Making | Error::Timeout => Self::Unavailable(error.to_string()),
            Error::MountGone => Self::Internal(error.to_string()),
            Error::Backend(error) => error,
            Error::Store(error) => error.into(),
        }
    }
}
