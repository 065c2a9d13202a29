//! When memory may be read, and how what is not in it gets there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use holdfast_failpoint::switched;
use holdfast_storage::{Error, Range, Storage};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pauses::Pauses;
use super::{Session, moment};
use crate::cache::{Found, Known, Part};
use crate::layout;
use crate::record::State;
use crate::view::{Mark, Revision, StoreError};

/// How long a confirmed heartbeat entitles to read from memory, from its send.
pub(super) const CONFIRMED_FOR: Duration = Duration::from_secs(3);
/// Longest wait of a request for the store: of one read, and of a write for a lane.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The same of a read of the store's revision: who comes during it waits for the next one.
const TICKET_WITHIN: Duration = Duration::from_secs(4);
/// Wait for the watch before it is asked how far it is: on an etcd shared with others a revision may hold nothing of ours.
const ASK_AFTER: Duration = Duration::from_millis(2);
/// The same with an old etcd, which before 3.4.25 and 3.5.8 tells of progress before the events that it still holds back
/// (etcd issue 15220): by then they are out.
const ASK_OLD_AFTER: Duration = Duration::from_secs(1);
/// Between tries of a read.
pub(super) const RETRY: Duration = Duration::from_millis(50);

/// Reads of the store's revision that many requests share: one in flight at a time.
#[derive(Default)]
pub(super) struct Tickets {
    state: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    running: bool,
    waiters: Vec<oneshot::Sender<Result<Revision, StoreError>>>,
}

/// Ends a fill also when the reader is dropped half way.
struct Fill<'a> {
    session: &'a Session,
    key: &'a Bytes,
    read: Option<Known>,
}

impl Session {
    /// Waits until memory shows everything that was answered, by anyone, before now.
    pub(super) async fn readable(&self) -> Result<(), StoreError> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        let revision = match self.known_as_of_now(epoch) {
            Some(revision) => revision,
            None => {
                let revision = self.ask_as_of_now().await?;
                moment::learn(epoch, revision);
                revision
            }
        };
        self.wait_applied(revision).await?;
        // An order to seal may be among what it shows now.
        if self.is_ordered_to_seal() { Err(StoreError::Sealed) } else { Ok(()) }
    }

    /// Whether memory shows that now, without a wait.
    fn is_readable(&self) -> bool {
        let revision = self.known_as_of_now(self.epoch.load(Ordering::SeqCst));
        revision.is_some_and(|revision| self.applied.get() >= revision) && !self.is_ordered_to_seal()
    }

    /// See [`crate::Store::mark`].
    pub fn mark(&self) -> Option<Mark> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        let seen = moment::seen()?;
        self.is_readable().then(|| Mark { epoch, applied: self.applied.get(), seen })
    }

    /// See [`crate::Store::is_unchanged`].
    pub fn is_unchanged(&self, mark: &Mark) -> bool {
        self.is_readable()
            && self.epoch.load(Ordering::SeqCst) == mark.epoch
            && self.applied.get() == mark.applied
            && self.notes(mark.seen)
    }

    /// What memory tells of a key without a wait: what most reads of most requests come to. `None`: there is one, for the
    /// store, the watch or the gate.
    pub(super) fn at_hand<P: Part>(&self, key: &Bytes) -> Option<Found<P>> {
        let found = self.is_readable().then(|| self.cache.peek(key))??;
        (self.notes(found.revision) && !self.is_ordered_to_seal()).then_some(found)
    }

    /// A revision that holds everything that was answered, by anyone, before now: as the request has found out already, or as
    /// who may read from memory knows.
    fn known_as_of_now(&self, epoch: u64) -> Option<Revision> {
        moment::known(epoch).or_else(|| {
            let revision = self.may_read_memory().then(|| self.answered.load(Ordering::SeqCst))?;
            moment::learn(epoch, revision);
            Some(revision)
        })
    }

    /// The same from the store.
    async fn ask_as_of_now(&self) -> Result<Revision, StoreError> {
        let seen = self.applied.get();
        let revision = self.tickets.join(&self.storage).await?;
        if revision < seen {
            // The watch finds the same when it starts again, and reads everything anew.
            self.reconnect.notify_one();
            return Err(StoreError::Unavailable("the store went back to an older state".to_owned()));
        }
        Ok(revision)
    }

    /// Entitled by the member key as of what is applied, and confirmed a moment ago. Asked once per request, after it came.
    pub(super) fn may_read_memory(&self) -> bool {
        let standing = self.standing.load();
        let confirmed = self.feed.counted(self.confirmed.load(Ordering::SeqCst));
        standing.state == State::Cached
            && !self.options.always_ask
            && self.applied.get() >= standing.revision
            && !self.peers.is_demoted(standing.revision)
            && confirmed != 0
            && self.clock.boottime() < Duration::from_nanos(confirmed) + CONFIRMED_FOR
    }

    /// Waits until everything up to this revision is applied.
    pub(super) async fn wait_applied(&self, revision: Revision) -> Result<(), StoreError> {
        if self.applied.get() >= revision {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        let deadline = Instant::now() + PATIENCE;
        let old = self.options.old_etcd;
        let (first, longest) =
            if old { (ASK_OLD_AFTER, ASK_OLD_AFTER) } else { (ASK_AFTER, Duration::from_millis(100)) };
        let mut pauses = Pauses::new(first, longest);
        while Instant::now() < deadline {
            match tokio::time::timeout(pauses.next(), applied.wait_for(|applied| *applied >= revision)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(StoreError::Sealed),
                Err(_) => self.ask_progress(),
            }
        }
        Err(StoreError::Unavailable("the watch of the store lags behind".to_owned()))
    }

    /// What the caller has read or written is of this revision. Within a request its answer waits for that at its end;
    /// anything else waits here.
    pub(super) async fn see(&self, revision: Revision) -> Result<(), StoreError> {
        if moment::see(&self.gate, revision) { Ok(()) } else { self.gate.pass(revision, 0).await }
    }

    /// As [`Session::see`], of what was only read. It is refused where it may be of after an order to seal.
    pub(super) async fn see_read(&self, revision: Revision) -> Result<(), StoreError> {
        if self.is_ordered_to_seal() {
            return Err(StoreError::Sealed);
        }
        if self.notes(revision) { Ok(()) } else { self.gate.pass(revision, 0).await }
    }

    /// Whether the answer of a request waits for this revision at its end, as it was read by it.
    fn notes(&self, revision: Revision) -> bool {
        let past_gate = switched!("mutant.barrier-reads-past-gate") && !self.may_read_memory();
        past_gate || switched!("mutant.gate-writes-only") || moment::see(&self.gate, revision)
    }

    /// What is known of a key, read from the store as of what is applied if it must be.
    pub(super) async fn fetch<P: Part>(&self, key: &Bytes) -> Result<Found<P>, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        // The member that is asked may be a moment behind the one that is watched.
        let mut pauses = Pauses::new(ASK_AFTER, RETRY);
        loop {
            let at = match self.cache.look_up(key) {
                Ok(found) => return Ok(found),
                Err(at) => at,
            };
            let mut fill = Fill { session: self, key, read: None };
            let begin = Instant::now();
            let range = Range::key(key.clone());
            let range = if switched!("mutant.fill-above-applied") { range } else { range.at(at) };
            match by(deadline, self.storage.range(range)).await {
                Ok(page) => {
                    self.counting.read(begin);
                    let known = page.items.first().map_or_else(|| Known::absent(at), Known::present);
                    let found = Found::of(&known);
                    fill.read = Some(known);
                    return Ok(found);
                }
                Err(error) => retry(error, deadline)?,
            }
            drop(fill);
            pauses.pause().await;
        }
    }

    pub(super) fn ask_progress(&self) {
        if let Some(ask) = &*self.ask_progress.lock() {
            ask();
        }
    }
}

/// A read of the store that is given up at the deadline.
pub(super) async fn by<T>(deadline: Instant, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Err(Error::Unknown("no answer in time".to_owned()));
    tokio::time::timeout_at(deadline, read).await.unwrap_or_else(late)
}

/// Whether a failed read may be tried again: always, until the deadline.
pub(super) fn retry(error: Error, deadline: Instant) -> Result<(), StoreError> {
    if Instant::now() < deadline { Ok(()) } else { Err(error.into()) }
}

// === impl Tickets ===

impl Tickets {
    /// The store's revision as of some moment after the call.
    async fn join(&self, storage: &Arc<dyn Storage>) -> Result<Revision, StoreError> {
        let (waiter, revision) = oneshot::channel();
        let start = {
            let mut state = self.state.lock();
            state.waiters.push(waiter);
            !std::mem::replace(&mut state.running, true)
        };
        if start {
            tokio::spawn(serve(self.state.clone(), storage.clone()));
        }
        match tokio::time::timeout(PATIENCE, revision).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(StoreError::Unavailable("the store does not answer".to_owned())),
        }
    }
}

/// Reads for all who wait, until nobody does. Who comes during a read is served by the next.
async fn serve(state: Arc<Mutex<Waiting>>, storage: Arc<dyn Storage>) {
    loop {
        let waiters = {
            let mut state = state.lock();
            let waiters = std::mem::take(&mut state.waiters);
            if waiters.is_empty() {
                state.running = false;
                return;
            }
            waiters
        };
        let deadline = Instant::now() + TICKET_WITHIN;
        let outcome = loop {
            match by(deadline, storage.get(layout::GENERATION)).await {
                Ok((_, revision)) => break Ok(revision),
                Err(error) if Instant::now() >= deadline => break Err(error),
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        };
        for waiter in waiters {
            // Whoever waits no more has dropped the other end.
            let _ = waiter.send(outcome.clone().map_err(StoreError::from));
        }
    }
}

impl Drop for Fill<'_> {
    fn drop(&mut self) {
        self.session.cache.finish(self.key, self.read.take());
    }
}
