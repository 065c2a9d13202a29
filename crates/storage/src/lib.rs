//! Where bytes are kept, in the shape of etcd: revisions, transactions within transactions, watches.
//!
//! Nothing here knows about encryption. A store is judged by [`conformance`] (feature `conformance`), which every
//! implementation runs in its tests. [`MemoryStorage`] is the smallest of them; [`Table`] and [`History`] are the parts that
//! it shares with the file store.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod evaluate;
mod history;
mod memory;
mod model;
mod watch;

use async_trait::async_trait;
pub use error::Error;
pub use evaluate::{Change, Rows, Table, check, evaluate};
pub use history::History;
pub use memory::MemoryStorage;
pub use model::{Compare, Condition, Event, KeyValue, Op, OpReply, Page, Range, Revision, Txn, TxnReply, after_prefix};
pub use watch::{Update, Watch};

/// A store of keys and values with one revision counter.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Reads a range of keys in byte order: linearizably, or of an older revision if the range says so.
    async fn range(&self, range: Range) -> Result<Page, Error>;

    /// Number of keys of a range, without reading them where the store can.
    async fn count(&self, range: Range) -> Result<u64, Error> {
        Ok(self.range(Range { limit: 0, keys_only: true, ..range }).await?.items.len() as u64)
    }

    /// Evaluates all compares, of nested transactions too, against the state before; then applies one branch of each.
    /// All its changes share one revision; a transaction that changes nothing makes none.
    async fn txn(&self, txn: Txn) -> Result<TxnReply, Error>;

    /// Every change below `prefix` from revision `from` on (which may lie one ahead), each revision whole and once.
    /// [`Error::Compacted`], here or as the last item, if history no longer reaches back that far.
    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error>;

    /// What it is, for status pages: `etcd`, `file`, `inmem`.
    fn kind(&self) -> &'static str;

    /// Whether opening it proves that no other process has it open.
    fn exclusive(&self) -> bool {
        false
    }

    /// The value at a key, linearizably, with the revision it was read at.
    async fn get(&self, key: &[u8]) -> Result<(Option<KeyValue>, Revision), Error> {
        let page = self.range(Range::key(key.to_vec())).await?;
        Ok((page.items.into_iter().next(), page.revision))
    }
}
