//! How often, and for how long, the barrier was asked. What is read from memory is counted where memory is locked anyway, and
//! its time, a microsecond, is not taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::cache::Traffic;
use crate::view::{Txn, Write};

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// How long they took, all together.
    pub took: Duration,
}

/// What the barrier was asked for since the unseal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Reads of one value; the time is of those that memory did not answer.
    pub get: Calls,
    /// Values written, each with the time of its transaction.
    pub put: Calls,
    /// Values deleted, each with the time of its transaction.
    pub delete: Calls,
    /// Lists of names; the time is of those that memory did not answer.
    pub list: Calls,
    /// How memory did.
    pub cache: Traffic,
}

/// The same, being counted.
#[derive(Default)]
pub(super) struct Counting {
    reads: Counter,
    puts: Counter,
    deletes: Counter,
    lists: Counter,
}

#[derive(Default)]
struct Counter {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Counter {
    fn add(&self, count: usize, each: Duration) {
        let micros = u64::try_from(each.as_micros()).unwrap_or(u64::MAX);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.count.fetch_add(count, Ordering::Relaxed);
        self.micros.fetch_add(micros.saturating_mul(count), Ordering::Relaxed);
    }

    fn calls(&self) -> Calls {
        let took = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        Calls { count: self.count.load(Ordering::Relaxed), took }
    }
}

impl Counting {
    /// A value was read from the store.
    pub fn read(&self, begin: Instant) {
        self.reads.add(1, begin.elapsed());
    }

    /// Names were listed: from the store, beginning then, or from memory.
    pub fn listed(&self, begin: Option<Instant>) {
        self.lists.add(1, begin.map_or(Duration::ZERO, |begin| begin.elapsed()));
    }

    /// A transaction with so many puts and deletes ended.
    pub fn committed(&self, (puts, deletes): (usize, usize), begin: Instant) {
        self.puts.add(puts, begin.elapsed());
        self.deletes.add(deletes, begin.elapsed());
    }
}

/// Puts and deletes of a transaction.
pub(super) fn kinds(txn: &Txn) -> (usize, usize) {
    let puts = txn.writes.iter().filter(|(_, write)| matches!(write, Write::Put(_))).count();
    (puts, txn.writes.len() - puts)
}

impl Session {
    /// What it was asked for.
    pub fn figures(&self) -> Figures {
        let (counting, cache) = (&self.counting, self.cache.traffic());
        let get = Calls { count: cache.hits + cache.misses, ..counting.reads.calls() };
        Figures {
            get,
            put: counting.puts.calls(),
            delete: counting.deletes.calls(),
            list: counting.lists.calls(),
            cache,
        }
    }
}
