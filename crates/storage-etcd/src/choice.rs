//! Which member of etcd is asked: the first that answers, until it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A member that answers nothing for so long, although it was asked, is asked no more while there are others.
pub const SILENT: Duration = Duration::from_secs(1);

/// The choice among members, by their index. All who hold it share it.
#[derive(Clone)]
pub struct Choice(Arc<Shared>);

struct Shared {
    members: usize,
    preferred: AtomicUsize,
    /// Who fell silent last; told each time.
    silent: watch::Sender<usize>,
}

/// Something that a member was asked and has not answered.
#[derive(Default)]
pub struct Question {
    since: Mutex<Option<Instant>>,
    put: Notify,
}

impl Choice {
    /// Among so many members: the first.
    pub fn among(members: usize) -> Self {
        Self(Arc::new(Shared { members, preferred: AtomicUsize::new(0), silent: watch::Sender::new(0) }))
    }

    /// Who is asked first.
    pub fn preferred(&self) -> usize {
        self.0.preferred.load(Ordering::Relaxed)
    }

    /// Whether there is only one.
    pub fn is_alone(&self) -> bool {
        self.0.members == 1
    }

    /// One that failed is asked last from now on.
    pub fn leave(&self, failed: usize) {
        let next = (failed + 1) % self.0.members;
        // Whoever comes later with the same failure changes nothing.
        let _ = self.0.preferred.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The same of one that answers nothing, neither that it fails. Its watches end.
    pub fn leave_silent(&self, member: usize) {
        if !self.is_alone() {
            self.leave(member);
            self.0.silent.send_replace(member);
        }
    }

    /// Returns when this member falls silent from now on.
    pub fn falls_silent(&self, member: usize) -> impl Future<Output = ()> + Send + use<> {
        let mut silent = self.0.silent.subscribe();
        async move {
            while silent.changed().await.is_ok() {
                if *silent.borrow() == member {
                    return;
                }
            }
            // There is nobody left who could.
            std::future::pending().await
        }
    }
}

impl Question {
    /// It is put, if it is not open already.
    pub fn put(&self) {
        self.since.lock().get_or_insert_with(Instant::now);
        self.put.notify_waiters();
    }

    /// It is answered.
    pub fn answer(&self) {
        *self.since.lock() = None;
    }

    /// Returns when it has been open for longer than [`SILENT`].
    pub async fn stays_open(&self) {
        loop {
            let put = self.put.notified();
            let since = *self.since.lock();
            match since {
                None => put.await,
                Some(since) => {
                    tokio::time::sleep_until(since + SILENT).await;
                    if *self.since.lock() == Some(since) {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_is_left_once() {
        let choice = Choice::among(3);
        choice.leave(0);
        choice.leave(0);
        assert_eq!(choice.preferred(), 1);
        choice.leave(2);
        assert_eq!(choice.preferred(), 1, "it is not the one that is asked");
        choice.leave(1);
        choice.leave(2);
        assert_eq!(choice.preferred(), 0);
    }

    #[tokio::test]
    async fn only_who_falls_silent_later_ends_watches() {
        let choice = Choice::among(2);
        choice.leave_silent(0);
        let (first, second) = (choice.falls_silent(0), choice.falls_silent(1));
        choice.leave_silent(1);
        second.await;
        assert!(tokio::time::timeout(Duration::from_millis(20), first).await.is_err());
        let alone = Choice::among(1);
        let silent = alone.falls_silent(0);
        alone.leave_silent(0);
        assert!(tokio::time::timeout(Duration::from_millis(20), silent).await.is_err(), "there is nobody else");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_open_until_it_is_answered() {
        let question = Question::default();
        let late = || tokio::time::timeout(SILENT * 3 / 2, question.stays_open());
        assert!(late().await.is_err(), "nothing was asked");
        question.put();
        assert!(late().await.is_ok());
        question.answer();
        assert!(late().await.is_err());
        let (open, ()) = tokio::join!(late(), async {
            tokio::time::sleep(SILENT / 4).await;
            question.put();
        });
        assert!(open.is_ok(), "it is put while somebody waits");
    }
}
