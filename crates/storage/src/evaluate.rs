//! How a transaction is carried out over a table of live keys, for the stores that do it themselves.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{Compare, Condition, Error, KeyValue, Op, OpReply, Range, Revision, Txn, TxnReply};

/// The keys that exist now.
pub trait Rows {
    /// The value at a key.
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error>;
    /// The values of a range in byte order; `at` of the range is not looked at, at most `limit` (0: all) are given.
    fn scan(&self, range: &Range) -> Result<Vec<KeyValue>, Error>;
}

/// The keys that exist now, to be changed.
pub trait Table: Rows {
    /// Sets a value.
    fn put(&mut self, item: KeyValue) -> Result<(), Error>;
    /// Removes a key.
    fn remove(&mut self, key: &[u8]) -> Result<(), Error>;
}

/// A change made to a table, with what was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// What is there now.
    pub now: Option<KeyValue>,
    /// What was there before the transaction.
    pub before: Option<KeyValue>,
}

/// Refuses what etcd refuses: empty keys, and one key put twice or put and deleted, in any branch.
pub fn check(txn: &Txn) -> Result<(), Error> {
    let mut written = HashSet::new();
    check_keys(txn, &mut written)
}

/// Carries the transaction out; its changes get `revision`. The reply's revision is left 0.
pub fn evaluate<T: Table>(
    table: &mut T,
    txn: &Txn,
    revision: Revision,
    changes: &mut Vec<Change>,
) -> Result<TxnReply, Error> {
    let path = decide(table, txn)?;
    carry_out(table, txn, &path, revision, changes)
}

/// Which branch was taken, here and below.
struct Decision {
    succeeded: bool,
    nested: Vec<Decision>,
}

fn check_keys<'a>(txn: &'a Txn, written: &mut HashSet<&'a [u8]>) -> Result<(), Error> {
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Txn(inner) => check_keys(inner, written)?,
            Op::Get { key } | Op::Put { key, .. } | Op::Delete { key } if key.is_empty() => {
                return Err(Error::Failed("empty key".to_owned()));
            }
            Op::Put { key, .. } | Op::Delete { key } => {
                if !written.insert(key) {
                    return Err(Error::Failed("duplicate key in one transaction".to_owned()));
                }
            }
            Op::Get { .. } => {}
        }
    }
    Ok(())
}

/// All compares see the state before anything is done.
fn decide<T: Rows>(table: &T, txn: &Txn) -> Result<Decision, Error> {
    let mut succeeded = true;
    for compare in &txn.compares {
        succeeded = succeeded && holds(table, compare)?;
    }
    let mut nested = Vec::new();
    for op in branch(txn, succeeded) {
        if let Op::Txn(inner) = op {
            nested.push(decide(table, inner)?);
        }
    }
    Ok(Decision { succeeded, nested })
}

fn holds<T: Rows>(table: &T, compare: &Compare) -> Result<bool, Error> {
    let item = table.get(&compare.key)?;
    Ok(match compare.condition {
        Condition::Absent => item.is_none(),
        Condition::Exists => item.is_some(),
        Condition::ModRevision(revision) => item.map_or(0, |item| item.mod_revision) == revision,
    })
}

fn carry_out<T: Table>(
    table: &mut T,
    txn: &Txn,
    decision: &Decision,
    revision: Revision,
    changes: &mut Vec<Change>,
) -> Result<TxnReply, Error> {
    let mut replies = Vec::new();
    let mut nested = decision.nested.iter();
    for op in branch(txn, decision.succeeded) {
        replies.push(match op {
            Op::Put { key, value } => {
                let before = table.get(key)?;
                let create_revision = before.as_ref().map_or(revision, |item| item.create_revision);
                let item = KeyValue { key: key.clone(), value: value.clone(), create_revision, mod_revision: revision };
                table.put(item.clone())?;
                changes.push(Change { key: key.clone(), now: Some(item), before });
                OpReply::Put
            }
            Op::Delete { key } => {
                let before = table.get(key)?;
                let found = before.is_some();
                if found {
                    table.remove(key)?;
                    changes.push(Change { key: key.clone(), now: None, before });
                }
                OpReply::Delete(found)
            }
            Op::Get { key } => OpReply::Get(table.get(key)?),
            Op::Txn(inner) => {
                let below = nested.next().ok_or_else(|| Error::Failed("nested transaction undecided".to_owned()))?;
                OpReply::Txn(carry_out(table, inner, below, revision, changes)?)
            }
        });
    }
    Ok(TxnReply { revision: 0, succeeded: decision.succeeded, replies })
}

fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.then } else { &txn.otherwise }
}
