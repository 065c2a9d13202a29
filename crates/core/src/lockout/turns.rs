//! Who tries to log in on this replica now, by user: how many attempts run, and whose turn it is to look at the count.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The users that try to log in.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<Slot>>>);

/// The attempts of one user.
#[derive(Default)]
pub(super) struct Slot {
    /// Held while the count is read or written.
    pub turn: tokio::sync::Mutex<()>,
    /// Attempts that were let in and have not ended.
    running: AtomicU64,
    /// There may be room for one more. It wakes one of those who wait, who wakes the next if there is room for that one too.
    room: Notify,
}

/// A request that tries to log in, waiting or running. Who leaves makes room for another, and the last one of a user clears
/// up; both also when the request is given up.
pub(super) struct Seat<'t> {
    turns: &'t Turns,
    key: String,
    slot: Arc<Slot>,
}

/// An attempt that was let in; it ends when this is dropped, also when the request is given up.
pub(super) struct Attempt<'s>(&'s Slot);

impl Turns {
    /// Takes a seat among the attempts of the user of a key.
    pub fn seat(&self, key: &str) -> Seat<'_> {
        let slot = self.0.lock().entry(key.to_owned()).or_default().clone();
        Seat { turns: self, key: key.to_owned(), slot }
    }
}

impl Seat<'_> {
    /// The attempts of the user.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }
}

impl Slot {
    fn running(&self) -> u64 {
        self.running.load(Ordering::SeqCst)
    }

    /// Waits until the attempt could fail without reaching more than `threshold` failures in all. `None`: that many were there
    /// already.
    pub async fn admit<E, F: Future<Output = Result<u64, E>>>(
        &self,
        threshold: u64,
        failures: impl Fn() -> F,
    ) -> Result<Option<Attempt<'_>>, E> {
        loop {
            {
                let _turn = self.turn.lock().await;
                let failures = failures().await?;
                if failures >= threshold {
                    return Ok(None);
                }
                let free = threshold.saturating_sub(failures + self.running());
                if free > 1 {
                    self.room.notify_one();
                }
                if free > 0 {
                    return Ok(Some(self.begin()));
                }
            }
            self.room.notified().await;
        }
    }

    fn begin(&self) -> Attempt<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        Attempt(self)
    }
}

impl<'s> Attempt<'s> {
    /// The attempts of the user.
    pub fn slot(&self) -> &'s Slot {
        self.0
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // Also who never began: it may have been told of room.
        self.slot.room.notify_one();
        let mut slots = self.turns.0.lock();
        // The map's and this one: seats are taken under the lock, so nobody else comes by it now.
        if Arc::strong_count(&self.slot) <= 2 {
            slots.remove(&self.key);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Poll, time::Duration};

    use futures::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_given_up_leaves_nothing() {
        let turns = Turns::default();
        let login = async |key: &str| {
            let seat = turns.seat(key);
            let _attempt = seat.slot().begin();
            std::future::pending::<()>().await;
        };
        let deadline = Duration::from_secs(1);
        let logins = ["anna", "anna", "bert"].map(|key| tokio::time::timeout(deadline, login(key)));
        assert!(futures::future::join_all(logins).await.iter().all(Result::is_err));
        assert!(turns.0.lock().is_empty());
    }

    #[tokio::test]
    async fn who_hangs_up_when_told_of_room_leaves_it_to_the_next() {
        let turns = Turns::default();
        let login = async || {
            let seat = turns.seat("anna");
            seat.slot().admit(1, async || Ok::<_, ()>(0)).await.unwrap().is_some()
        };
        let (seat, first) = (turns.seat("anna"), turns.seat("anna"));
        let attempt = first.slot().begin();
        let (mut second, mut third) = (Box::pin(login()), Box::pin(login()));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        let turn = seat.slot().turn.lock().await;
        drop(attempt);
        drop(first);
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop((second, turn));
        assert_eq!(poll!(&mut third), Poll::Ready(true));
    }

    #[tokio::test]
    async fn one_tells_the_next_whether_there_is_room_or_none() {
        for (failures, expected) in [(0, vec![true; 3]), (3, vec![false; 8])] {
            let turns = Turns::default();
            let count = AtomicU64::new(0);
            let login = async || {
                let seat = turns.seat("anna");
                let attempt = seat.slot().admit(3, async || Ok::<_, ()>(count.load(Ordering::SeqCst))).await.unwrap();
                (attempt.map(std::mem::forget).is_some(), seat)
            };
            let first = turns.seat("anna");
            let attempts = [(); 3].map(|()| first.slot().begin());
            let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(login())).collect();
            for login in &mut waiting {
                assert!(poll!(login).is_pending());
            }
            count.store(failures, Ordering::SeqCst);
            drop(attempts);
            drop(first);
            // Who begins keeps the seat; who is refused leaves.
            let (mut begun, mut ended) = (Vec::new(), Vec::new());
            for login in &mut waiting {
                if let Poll::Ready((begins, seat)) = poll!(login) {
                    ended.push(begins);
                    begun.extend(begins.then_some(seat));
                }
            }
            assert_eq!(ended, expected);
        }
    }

    #[test]
    fn the_attempts_of_a_user_share_a_slot_until_the_last_one_leaves() {
        let turns = Turns::default();
        let (first, second) = (turns.seat("anna"), turns.seat("anna"));
        let attempt = first.slot().begin();
        assert_eq!((second.slot().running(), turns.seat("bert").slot().running()), (1, 0));
        drop(attempt);
        drop(first);
        assert_eq!((second.slot().running(), turns.0.lock().len()), (0, 1));
        drop(second);
        assert!(turns.0.lock().is_empty());
    }
}
