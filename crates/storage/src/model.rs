//! Keys, ranges, transactions and their replies.

use bytes::Bytes;

/// One number for the whole store, growing with each transaction that changes something. The empty store is at 1.
pub type Revision = i64;

/// A key, its value and its place in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty if only keys were asked for.
    pub value: Bytes,
    /// Revision that created the key.
    pub create_revision: Revision,
    /// Revision that last wrote it.
    pub mod_revision: Revision,
}

/// Which keys to read, and of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First key.
    pub start: Bytes,
    /// First key after the range; `None`: only the key `start`.
    pub end: Option<Bytes>,
    /// At most so many; 0: all.
    pub limit: usize,
    /// State at this revision, answered by any member; `None`: now, linearizably.
    pub at: Option<Revision>,
    /// Leave the values out.
    pub keys_only: bool,
}

/// A range as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Revision of the store when it answered.
    pub revision: Revision,
    /// In byte order of the keys.
    pub items: Vec<KeyValue>,
    /// There is more beyond the limit.
    pub more: bool,
}

/// What must hold of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no such key.
    Absent,
    /// There is one.
    Exists,
    /// It was last written by this revision.
    ModRevision(Revision),
}

/// A condition on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What must hold.
    pub condition: Condition,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a value.
    Put {
        /// The key, not empty.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes a key; no change if it is not there.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Reads a key, after the operations before it in the same transaction.
    Get {
        /// The key.
        key: Bytes,
    },
    /// A transaction of its own within this one.
    Txn(Txn),
}

/// If all compares hold then `then`, else `otherwise`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done if they do.
    pub then: Vec<Op>,
    /// Done if they do not.
    pub otherwise: Vec<Op>,
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Revision of the store afterwards; 0 in nested replies.
    pub revision: Revision,
    /// The compares held.
    pub succeeded: bool,
    /// One per operation of the branch that was taken.
    pub replies: Vec<OpReply>,
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// Set.
    Put,
    /// Removed; false if it was not there.
    Delete(bool),
    /// What was read.
    Get(Option<KeyValue>),
    /// The nested transaction's reply.
    Txn(TxnReply),
}

/// One change, as a watch tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key has this value now.
    Put(KeyValue),
    /// The key is gone since this revision.
    Delete {
        /// The key.
        key: Bytes,
        /// Revision that removed it.
        mod_revision: Revision,
    },
}

/// The first key after all that start with `prefix`. An empty prefix, or one of 0xff only, gives `[0]`, which as an end means
/// "to the last key" (as in etcd).
pub fn after_prefix(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

// === impl Range ===

impl Range {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { start: key.into(), end: None, limit: 0, at: None, keys_only: false }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        let end = after_prefix(&start);
        Self { end: Some(end), ..Self::key(start) }
    }

    /// The keys from `start` up to, without, `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { end: Some(end.into()), ..Self::key(start) }
    }

    /// Whether the key is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => key == self.start,
            Some(end) => key >= self.start.as_ref() && (end.as_ref() == [0] || key < end.as_ref()),
        }
    }

    /// At most `limit` keys.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// As of this revision.
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }
}

// === impl Compare ===

impl Compare {
    /// A condition on a key.
    pub fn new(key: impl Into<Bytes>, condition: Condition) -> Self {
        Self { key: key.into(), condition }
    }
}

// === impl Txn ===

impl Txn {
    /// Bytes of all keys and values in it.
    pub fn bytes(&self) -> usize {
        let compares: usize = self.compares.iter().map(|compare| compare.key.len()).sum();
        let ops: usize = self.then.iter().chain(&self.otherwise).map(Op::bytes).sum();
        compares + ops
    }
}

// === impl Op ===

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } | Self::Get { key } => key.len(),
            Self::Txn(txn) => txn.bytes(),
        }
    }

    /// Sets a value.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }

    /// Removes a key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Reads a key.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Get { key: key.into() }
    }
}

// === impl Event ===

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(item) => &item.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision that changed it.
    pub fn mod_revision(&self) -> Revision {
        match self {
            Self::Put(item) => item.mod_revision,
            Self::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}
