//! A store in memory: for development mode and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Error, History, KeyValue, Page, Range, Revision, Rows, Storage, Table, Txn, TxnReply, Watch, check, evaluate,
};

/// Revisions kept for watches and old reads.
const HISTORY: usize = 10_000;

/// Largest transaction, in bytes of keys and values, as etcd's default.
const MAX_REQUEST_BYTES: usize = 1_536 * 1024;

/// A store that is gone with the process. Clones share the content.
#[derive(Clone)]
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
    history: History,
}

struct State {
    revision: Revision,
    live: Live,
}

#[derive(Default)]
struct Live(BTreeMap<Bytes, KeyValue>);

impl MemoryStorage {
    /// An empty store at revision 1.
    pub fn new() -> Self {
        let state = State { revision: 1, live: Live::default() };
        Self { state: Arc::new(Mutex::new(state)), history: History::new(1, HISTORY) }
    }

    /// Forgets history up to and including `revision`.
    pub fn compact(&self, revision: Revision) {
        self.history.compact(revision);
    }

    /// Everything that is stored: what somebody who steals the disk would have.
    pub fn dump(&self) -> Vec<KeyValue> {
        self.state.lock().live.0.values().cloned().collect()
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn range(&self, range: Range) -> Result<Page, Error> {
        let state = self.state.lock();
        let (items, more) = self.history.read(&state.live, state.revision, &range)?;
        Ok(Page { revision: state.revision, items, more })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply, Error> {
        check(&txn)?;
        let bytes = txn.bytes();
        if bytes > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge(format!("request of {bytes} bytes, the limit is {MAX_REQUEST_BYTES}")));
        }
        let mut state = self.state.lock();
        let next = state.revision + 1;
        let mut changes = Vec::new();
        // The table cannot fail, and `check` has refused what could make the evaluation stop half way.
        let mut reply = evaluate(&mut state.live, &txn, next, &mut changes)?;
        if !changes.is_empty() {
            state.revision = next;
            self.history.publish(next, changes);
        }
        reply.revision = state.revision;
        Ok(reply)
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.history.watch(prefix, from)
    }

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

impl Rows for Live {
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &Range) -> Result<Vec<KeyValue>, Error> {
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let from = self.0.range(range.start.clone()..);
        Ok(from.map(|(_, item)| item).take_while(|item| range.contains(&item.key)).take(limit).cloned().collect())
    }
}

impl Table for Live {
    fn put(&mut self, item: KeyValue) -> Result<(), Error> {
        self.0.insert(item.key.clone(), item);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.0.remove(key);
        Ok(())
    }
}
