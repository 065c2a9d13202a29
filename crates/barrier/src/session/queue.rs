//! Transactions that wait for a lane, and which of them may travel together.
//!
//! All compares within one batch see the state before it. So no transaction's writes may meet another's writes *or compares*:
//! only then does the batch equal its transactions one after the other, in any order.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use holdfast_failpoint::switched;
use holdfast_secret::SecretBytes;
use holdfast_storage::Condition;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::value::Encrypted;
use crate::view::{Revision, StoreError};

/// Most transactions in one batch.
const MAX_INNER: usize = 64;
/// Most bytes in one batch, and in one transaction.
pub const MAX_BYTES: usize = 1024 * 1024 + 64 * 1024;
/// etcd's limit on operations (`--max-txn-ops`), which counts the largest at each level: a lane and n transactions, and the
/// operations of the largest transaction.
const MAX_OPS: usize = 128;
/// Most checks or writes in one transaction.
pub const MAX_TXN_OPS: usize = MAX_OPS - 2;
/// Longest wait for company.
const LINGER: Duration = Duration::from_millis(2);
/// After this long without a batch nobody is expected to come again.
const DISPERSED: Duration = Duration::from_millis(10);
/// How far the queue is searched for what fits.
const SEARCH: usize = 512;

/// A transaction that waits.
pub struct Pending {
    /// What must hold.
    pub checks: Vec<(Bytes, Condition)>,
    /// What is written.
    pub writes: Vec<PendingWrite>,
    /// Who waits for the outcome.
    pub reply: oneshot::Sender<Outcome>,
}

/// What became of a transaction: its revision, or why there is none.
pub type Outcome = Result<Revision, Refusal>;

/// Why a transaction was not applied.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub error: StoreError,
    /// The revision that this tells of; 0: of none.
    pub seen: Revision,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self { error, seen: 0 }
    }
}

/// One write of it.
pub struct PendingWrite {
    /// Plain path.
    pub path: String,
    /// Stored key.
    pub key: Bytes,
    /// What becomes of it.
    pub change: PendingChange,
}

/// What becomes of a key.
pub enum PendingChange {
    /// A value; the plain one is kept to encrypt it again if the key term changes first.
    Put(SecretBytes, Encrypted),
    /// Nothing.
    Delete,
}

/// The waiting transactions of all lanes.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Something came, or a batch is done.
    moved: Notify,
    /// Held by the lane that takes next.
    door: tokio::sync::Mutex<()>,
    one_by_one: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    /// Batches taken and not yet done.
    batches: usize,
    /// Transactions in them.
    in_flight: usize,
    /// How many were here at once lately.
    crowd: usize,
    /// When the last batch was done.
    answered: Option<Instant>,
    closed: bool,
}

impl Queue {
    /// An empty one; `one_by_one`: a batch is a single transaction.
    pub fn new(one_by_one: bool) -> Self {
        Self { one_by_one, ..Self::default() }
    }

    /// Adds a transaction at the end; false if the queue is closed.
    pub fn push(&self, pending: Pending) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.waiting.push_back(pending);
        drop(state);
        self.moved.notify_one();
        true
    }

    /// Waits for transactions and takes those that may travel together, at least one. [`Queue::done`] must follow.
    pub async fn take(&self) -> Vec<Pending> {
        // One lane after the other: two that gather at once would share what comes.
        let _door = self.door.lock().await;
        loop {
            self.gather().await;
            let mut state = self.state.lock();
            let batch = take_batch(&mut state.waiting, if self.one_by_one { 1 } else { MAX_INNER });
            // Empty: nobody waits for these any more.
            if !batch.is_empty() {
                state.batches += 1;
                state.in_flight += batch.len();
                state.crowd = (state.in_flight + state.waiting.len()).max(state.crowd() * 7 / 8);
                return batch;
            }
        }
    }

    /// Waits for the first transaction, and for company: a batch costs the store as much as ten transactions in it. It waits
    /// for half of the crowd, as who was answered a moment ago may come again, but not long; and in any case as long as each
    /// turn of the runtime brings more. One that is alone goes at once.
    async fn gather(&self) {
        let (mut seen, mut since) = (0, None);
        loop {
            let moved = self.moved.notified();
            let (waiting, crowd) = {
                let state = self.state.lock();
                (state.waiting.len(), state.crowd())
            };
            if waiting == 0 {
                moved.await;
            } else if self.one_by_one || waiting >= MAX_INNER {
                return;
            } else if waiting * 2 < crowd {
                let until = *since.get_or_insert_with(Instant::now) + LINGER;
                if tokio::time::timeout_at(until, moved).await.is_err() {
                    return;
                }
            } else if waiting > seen {
                seen = waiting;
                tokio::task::yield_now().await;
            } else {
                return;
            }
        }
    }

    /// A batch of so many that was taken is answered.
    pub fn done(&self, transactions: usize) {
        let mut state = self.state.lock();
        state.batches -= 1;
        state.in_flight -= transactions;
        state.answered = Some(Instant::now());
        drop(state);
        self.moved.notify_one();
    }

    /// Takes no more.
    pub fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Nothing waits and nothing is in flight.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && state.batches == 0
    }

    /// Takes all that waits, to refuse it.
    pub fn drain(&self) -> Vec<Pending> {
        self.state.lock().waiting.drain(..).collect()
    }
}

impl State {
    /// Nobody, where none is under way and none was for a while.
    fn crowd(&self) -> usize {
        let lately = self.batches > 0 || self.answered.is_some_and(|at| at.elapsed() < DISPERSED);
        if lately { self.crowd } else { 0 }
    }
}

impl Pending {
    /// Whether it puts nothing.
    pub fn only_deletes(&self) -> bool {
        self.writes.iter().all(|write| matches!(write.change, PendingChange::Delete))
    }

    /// Operations as etcd counts them.
    pub fn ops(&self) -> usize {
        self.checks.len().max(self.writes.len())
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        let checks: usize = self.checks.iter().map(|(key, _)| key.len() + 16).sum();
        let writes: usize = self.writes.iter().map(PendingWrite::bytes).sum();
        checks + writes
    }
}

impl PendingWrite {
    fn bytes(&self) -> usize {
        let value = match &self.change {
            PendingChange::Put(_, encrypted) => encrypted.stored_len(),
            PendingChange::Delete => 24,
        };
        self.key.len() + value
    }
}

/// Takes what fits from the front; what meets something taken stays, in order.
fn take_batch(waiting: &mut VecDeque<Pending>, most: usize) -> Vec<Pending> {
    let mut batch = Vec::new();
    let (mut bytes, mut ops) = (0, 0);
    let rule = !switched!("mutant.no-conflict-rule");
    let (mut read, mut written) = (HashSet::new(), HashSet::new());
    let mut at = 0;
    while at < waiting.len().min(SEARCH) && batch.len() < most {
        let candidate = &waiting[at];
        if candidate.reply.is_closed() {
            // Nobody waits any more, and nothing was sent.
            waiting.remove(at);
            continue;
        }
        let (its_bytes, its_ops) = (candidate.bytes(), ops.max(candidate.ops()));
        let fits = batch.is_empty() || (bytes + its_bytes <= MAX_BYTES && batch.len() + 2 + its_ops <= MAX_OPS);
        if !fits || (rule && meets(candidate, &read, &written)) {
            at += 1;
            continue;
        }
        read.extend(candidate.checks.iter().map(|(key, _)| key.clone()));
        written.extend(candidate.writes.iter().map(|write| write.key.clone()));
        (bytes, ops) = (bytes + its_bytes, its_ops);
        batch.extend(waiting.remove(at));
    }
    batch
}

fn meets(candidate: &Pending, read: &HashSet<Bytes>, written: &HashSet<Bytes>) -> bool {
    candidate.writes.iter().any(|write| read.contains(&write.key) || written.contains(&write.key))
        || candidate.checks.iter().any(|(key, _)| written.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Waiter = oneshot::Receiver<Outcome>;

    fn pending(checks: &[&'static str], deletes: &[&'static str]) -> (Pending, Waiter) {
        let (reply, waiter) = oneshot::channel();
        let checks = checks.iter().map(|key| (Bytes::from(*key), Condition::Absent)).collect();
        let write = |key: &&'static str| PendingWrite {
            path: (*key).to_owned(),
            key: Bytes::from(*key),
            change: PendingChange::Delete,
        };
        (Pending { checks, writes: deletes.iter().map(write).collect(), reply }, waiter)
    }

    fn sizes(all: Vec<(Pending, Waiter)>) -> Vec<usize> {
        let (queue, _waiters): (VecDeque<_>, Vec<_>) = all.into_iter().unzip();
        let mut queue = queue;
        let mut sizes = Vec::new();
        while !queue.is_empty() {
            sizes.push(take_batch(&mut queue, MAX_INNER).len());
        }
        sizes
    }

    #[test]
    fn write_skew_does_not_travel_together() {
        assert_eq!(sizes(vec![pending(&["x"], &["y"]), pending(&["y"], &["x"])]), [1, 1]);
        assert_eq!(sizes(vec![pending(&[], &["x"]), pending(&[], &["x"])]), [1, 1]);
        assert_eq!(sizes(vec![pending(&["x"], &[]), pending(&[], &["x"])]), [1, 1]);
        assert_eq!(sizes(vec![pending(&["x"], &["a"]), pending(&["x"], &["b"])]), [2]);
    }

    #[test]
    fn what_meets_nothing_overtakes_what_waits() {
        assert_eq!(sizes(vec![pending(&[], &["x"]), pending(&[], &["x"]), pending(&[], &["y"])]), [2, 1]);
    }

    #[test]
    fn a_batch_stays_within_what_etcd_takes() {
        let many = (0..130).map(|_| pending(&[], &[])).collect();
        assert_eq!(sizes(many), [64, 64, 2]);
        // 2 + 100 operations leave room for 26 transactions.
        let keys: Vec<&'static str> = (0..100).map(|number| &*format!("k{number}").leak()).collect();
        let mut wide = vec![pending(&[], &keys)];
        wide.extend((0..40).map(|_| pending(&[], &[])));
        assert_eq!(sizes(wide), [27, 14]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_company_while_another_is_under_way_and_not_for_long() {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let queue = Queue::default();
        let mut waiters = Vec::new();
        let mut push = |keys: &[&'static str]| {
            for key in keys {
                let (one, waiter) = pending(&[], &[key]);
                waiters.push(waiter);
                assert!(queue.push(one));
            }
        };
        let begun = Instant::now();
        push(&keys[..6]);
        assert_eq!((queue.take().await.len(), begun.elapsed()), (6, Duration::ZERO), "nobody was here before");
        push(&keys[..1]);
        let (batch, ()) = tokio::join!(queue.take(), async { push(&keys[1..3]) });
        assert_eq!((batch.len(), begun.elapsed()), (3, Duration::ZERO), "half of the crowd is company enough");
        push(&keys[..1]);
        assert_eq!((queue.take().await.len(), begun.elapsed()), (1, LINGER), "the others take their time");
        for done in [6, 3, 1] {
            queue.done(done);
        }
        assert!(queue.is_idle());
        push(&keys[..1]);
        assert_eq!((queue.take().await.len(), begun.elapsed()), (1, LINGER * 2), "who was answered may come again");
        queue.done(1);
        tokio::time::advance(DISPERSED).await;
        push(&keys[..1]);
        assert_eq!((queue.take().await.len(), begun.elapsed()), (1, LINGER * 2 + DISPERSED), "one alone goes at once");
    }

    #[test]
    fn who_waits_no_more_is_dropped_before_anything_is_sent() {
        let (gone, waiter) = pending(&[], &["x"]);
        drop(waiter);
        let mut queue = VecDeque::from([gone]);
        assert!(take_batch(&mut queue, MAX_INNER).is_empty() && queue.is_empty());
    }
}
