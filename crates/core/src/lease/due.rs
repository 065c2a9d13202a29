//! The expiry index: `due/<minute>/<milliseconds>-<kind><name>`.
//!
//! The name of an entry follows from its time, kind and name alone, so whoever knows these can remove it, and a name that
//! is listed says what is due without a look at the value. A worker lists the minutes that have come; a million entries
//! of later minutes cost nothing.

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

/// Stands for the slashes of a lease id in a name: no path has it.
const SLASH: &str = "\u{1f}";

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

impl Due {
    fn path(&self, at: Timestamp) -> String {
        let name = match self {
            Self::Lease(id) if id.contains(SLASH) => format!("s{}", super::record::serial(id)),
            Self::Lease(id) => format!("l{}", id.replace('/', SLASH)),
            Self::Intent(serial) => format!("i{serial}"),
            Self::Token(hash) => format!("t{hash}"),
            Self::Tombstone(owner) => format!("d{}", owner.replace('/', ".")),
        };
        format!("{}{:014}-{name}", folder(bucket(at)), at.as_millisecond().max(0))
    }

    /// Milliseconds since 1970 of the entry at a path, and what it is, unless its value must be asked.
    pub fn of_path(path: &str) -> (i64, Option<Self>) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((time, name)) = name.split_once('-') else { return (0, None) };
        let due = match name.split_at_checked(1) {
            Some(("l", id)) if id.contains(SLASH) => Some(Self::Lease(id.replace(SLASH, "/"))),
            Some(("i", serial)) => Some(Self::Intent(serial.to_owned())),
            Some(("t", hash)) => Some(Self::Token(hash.to_owned())),
            _ => None,
        };
        (time.parse().unwrap_or(0), due)
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
