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
    /// An attempt ended.
    pub ended: Notify,
}

/// A request that tries to log in, waiting or running. The last one of a user clears up, also when it is given up.
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
    /// Attempts that were let in and have not ended.
    pub fn running(&self) -> u64 {
        self.running.load(Ordering::SeqCst)
    }

    /// Lets an attempt in.
    pub fn begin(&self) -> Attempt<'_> {
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
        self.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
