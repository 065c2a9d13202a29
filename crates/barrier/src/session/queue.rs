//! Transactions that wait for a lane, and which of them may travel together.
//!
//! All compares within one batch see the state before it. So no transaction's writes may meet another's writes *or compares*:
//! only then does the batch equal its transactions one after the other, in any order.

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use holdfast_failpoint::switched;
use holdfast_secret::SecretBytes;
use holdfast_storage::Condition;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::reading::PATIENCE;
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
    /// Since when.
    pub since: Instant,
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
    /// While batches are under way: since when none was done.
    unanswered: Option<Instant>,
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

    /// Waits for what becomes of a transaction that was added. One that waits too long for a lane is refused: batches under
    /// way have no answer then, and nobody knows when they will. What a lane has taken may be done already or later, so
    /// that one waits until the lane knows.
    pub async fn outcome(&self, mut told: oneshot::Receiver<Outcome>) -> Outcome {
        let told = match tokio::time::timeout(PATIENCE, &mut told).await {
            Ok(told) => told,
            Err(_) => {
                self.refuse_overdue();
                told.await
            }
        };
        told.unwrap_or(Err(Refusal::from(StoreError::Sealed)))
    }

    /// Refuses what has waited too long and is in no batch: it never will be.
    fn refuse_overdue(&self) {
        let mut state = self.state.lock();
        let all = std::mem::take(&mut state.waiting).into_iter();
        let (overdue, waiting): (VecDeque<_>, _) = all.partition(|pending| pending.since.elapsed() >= PATIENCE);
        state.waiting = waiting;
        drop(state);
        for pending in overdue {
            let error = StoreError::Unavailable("it confirms no writes at the moment; nothing was written".to_owned());
            // Whoever waits no more has dropped the other end.
            let _ = pending.reply.send(Err(error.into()));
        }
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
                state.unanswered.get_or_insert_with(Instant::now);
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
        let now = Instant::now();
        state.answered = Some(now);
        state.unanswered = (state.batches > 0).then_some(now);
        drop(state);
        self.moved.notify_one();
    }

    /// Since when batches are under way of which none was done.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.state.lock().unanswered
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
