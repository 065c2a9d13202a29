//! The expiry index: `due/<minute>/<milliseconds>-<kind><name>`.
//!
//! The name of an entry follows from its time, kind and name alone, so whoever knows these can remove it. A worker lists
//! the minutes that have come, and of each the names whose time has come; a million entries of later minutes cost
//! nothing.

use holdfast_barrier::view::{StoreError, Txn, View};
use holdfast_base::Timestamp;
use serde::{Deserialize, Serialize};

/// What becomes due.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Due {
    /// A lease id.
    Lease(String),
    /// The serial of an intent.
    Intent(String),
    /// The hash of a token.
    Token(String),
    /// `kind/uid` of a released owner whose tombstone may go.
    Tombstone(String),
}

/// Seconds per bucket.
const BUCKET: i64 = 60;

/// The bucket of a moment.
pub(crate) fn bucket(at: Timestamp) -> i64 {
    at.as_second().div_euclid(BUCKET).max(0)
}

/// The folder of a bucket.
pub(crate) fn folder(bucket: i64) -> String {
    format!("due/{bucket:010}/")
}

/// Milliseconds since 1970 that the name of an entry begins with.
pub(crate) fn time_of(name: &str) -> Option<i64> {
    name.split_once('-')?.0.parse().ok()
}

impl Due {
    fn path(&self, at: Timestamp) -> String {
        let name = match self {
            Self::Lease(id) => format!("l{}", super::record::serial(id)),
            Self::Intent(serial) => format!("i{serial}"),
            Self::Token(hash) => format!("t{hash}"),
            Self::Tombstone(owner) => format!("d{}", owner.replace('/', ".")),
        };
        format!("{}{:014}-{name}", folder(bucket(at)), at.as_millisecond().max(0))
    }

    /// Is `path` the path of this entry at that time?
    pub fn is_at(&self, path: &str, at: Timestamp) -> bool {
        self.path(at) == path
    }

    /// Is the entry for that time there?
    pub async fn is_stored(&self, view: &View, at: Timestamp) -> Result<bool, StoreError> {
        Ok(view.get(&self.path(at)).await?.is_some())
    }

    /// Adds the entry.
    pub fn put(&self, view: &View, txn: &mut Txn, at: Timestamp) -> Result<(), StoreError> {
        txn.put_json(view.path(&self.path(at)), self)?;
        Ok(())
    }

    /// Removes the entry.
    pub fn delete(&self, view: &View, txn: &mut Txn, at: Timestamp) {
        txn.delete(view.path(&self.path(at)));
    }

    /// Moves the entry; the two times may be the same.
    pub fn shift(&self, view: &View, txn: &mut Txn, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
        if self.path(from) != self.path(to) {
            self.delete(view, txn, from);
        }
        self.put(view, txn, to)
    }
}

impl super::Leases {
    /// What to add to the commit of a token so that it is expired at `at`; `previous` is what it was scheduled for
    /// before.
    pub fn schedule_token(
        &self,
        token_hash: &str,
        at: Timestamp,
        previous: Option<Timestamp>,
    ) -> Result<Txn, StoreError> {
        let (mut txn, due) = (Txn::new(), Due::Token(token_hash.to_owned()));
        due.shift(&self.view, &mut txn, previous.unwrap_or(at), at)?;
        Ok(txn)
    }

    /// Will the token be expired at that time?
    pub async fn is_scheduled(&self, token_hash: &str, at: Timestamp) -> Result<bool, StoreError> {
        Due::Token(token_hash.to_owned()).is_stored(&self.view, at).await
    }

    /// What to add to the commit that deletes a token which was scheduled for `at`.
    pub fn unschedule_token(&self, token_hash: &str, at: Timestamp) -> Txn {
        let mut txn = Txn::new();
        Due::Token(token_hash.to_owned()).delete(&self.view, &mut txn, at);
        txn
    }
}
