//! The release gate: no answer leaves before every replica that reads from its memory has what the answer shows.
//!
//! Once it lets a revision it lets it for ever: what is applied only grows, and who begins to read from memory later begins
//! with a later revision. The one who decides how far it is open is `roster`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::view::{Revision, StoreError};

/// Most answers that wait at once.
const MAX_WAITING: usize = 4096;
/// Most bytes of answers that wait at once.
const MAX_BYTES: usize = 16 << 20;
/// Longest wait of an answer. The longest stall by a dead replica is far shorter; the client gives up later.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far answers may go, and who waits.
pub(crate) struct Gate {
    released: AtomicI64,
    changed: watch::Sender<()>,
    closed: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Answers that had to wait, ever.
    pub waits: AtomicU64,
    /// Microseconds that they waited.
    pub waited: AtomicU64,
    /// Answers that were given up.
    pub refused: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    bytes: usize,
    by_number: BTreeMap<u64, (Revision, Instant)>,
}

/// One that waits, until it is dropped.
struct Place<'a> {
    gate: &'a Gate,
    number: u64,
    bytes: usize,
    since: Instant,
}

impl Gate {
    /// Shut for all but what is as old as the store.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            released: AtomicI64::new(0),
            changed: watch::Sender::new(()),
            closed: AtomicBool::new(false),
            waiting: Mutex::default(),
            waits: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Everything up to this revision may leave.
    pub fn open_to(&self, revision: Revision) {
        if self.released.swap(revision, Ordering::SeqCst) != revision {
            self.changed.send_replace(());
        }
    }

    /// The replica is sealed: who waits is refused.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.changed.send_replace(());
    }

    /// May what shows this revision leave?
    pub fn lets(&self, revision: Revision) -> bool {
        revision <= self.released.load(Ordering::SeqCst)
    }

    /// Waits until what shows this revision may leave.
    pub async fn pass(&self, revision: Revision, bytes: usize) -> Result<(), StoreError> {
        if self.lets(revision) {
            return Ok(());
        }
        let mut changed = self.changed.subscribe();
        let place = self.enter(revision, bytes).inspect_err(|_| self.refuse())?;
        let released = async {
            loop {
                if self.lets(revision) {
                    return Ok(());
                }
                if self.closed.load(Ordering::SeqCst) || changed.changed().await.is_err() {
                    return Err(StoreError::Sealed);
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, released).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable("another replica has not confirmed that it shows the same".to_owned()))
        });
        self.waited.fetch_add(u64::try_from(place.since.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        outcome.inspect_err(|_| self.refuse())
    }

    /// The newest revision that somebody waits for since `patience` or longer, of those that are not above `limit`, and since
    /// when.
    pub fn overdue(&self, patience: Duration, limit: Revision) -> Option<(Revision, Instant)> {
        let waiting = self.waiting.lock();
        let overdue = waiting.by_number.values().take_while(|(_, since)| since.elapsed() >= patience);
        overdue.filter(|(revision, _)| *revision <= limit).max().copied()
    }

    /// Answers that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().by_number.len()
    }

    fn enter(&self, revision: Revision, bytes: usize) -> Result<Place<'_>, StoreError> {
        let mut waiting = self.waiting.lock();
        let (answers, held) = (waiting.by_number.len(), waiting.bytes);
        if answers >= MAX_WAITING || (answers > 0 && held + bytes > MAX_BYTES) {
            return Err(StoreError::Unavailable("too many answers wait for another replica".to_owned()));
        }
        self.waits.fetch_add(1, Ordering::Relaxed);
        let (number, since) = (waiting.next, Instant::now());
        waiting.next += 1;
        waiting.bytes += bytes;
        waiting.by_number.insert(number, (revision, since));
        Ok(Place { gate: self, number, bytes, since })
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.gate.waiting.lock();
        waiting.by_number.remove(&self.number);
        waiting.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_lets_what_is_released_and_nothing_else() {
        let gate = Gate::new();
        gate.open_to(5);
        gate.pass(5, 10).await.unwrap();
        let waiter = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass(7, 10).await }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        gate.open_to(6);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        let overdue = |limit| gate.overdue(Duration::ZERO, limit).map(|(revision, _)| revision);
        assert_eq!((overdue(6), overdue(7)), (None, Some(7)));
        gate.open_to(7);
        waiter.await.unwrap().unwrap();
        assert_eq!((gate.waiting(), gate.waiting.lock().bytes), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_when_it_is_sealed_is_refused() {
        let gate = Gate::new();
        let waiter = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass(7, 10).await }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        gate.close();
        assert!(matches!(waiter.await.unwrap(), Err(StoreError::Sealed)));
        assert!(matches!(gate.pass(7, 10).await, Err(StoreError::Sealed)));
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let gate = Gate::new();
        let first = gate.enter(7, MAX_BYTES * 2);
        assert!(first.is_ok());
        assert!(matches!(gate.pass(7, 1).await, Err(StoreError::Unavailable(_))));
        drop(first);
        let places: Vec<_> = (0..MAX_WAITING).map(|_| gate.enter(7, 1)).collect();
        assert!(places.iter().all(Result::is_ok));
        assert!(gate.enter(7, 1).is_err());
        assert_eq!(gate.refused.load(Ordering::SeqCst), 1);
    }
}
