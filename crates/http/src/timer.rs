//! The timer of a connection for the heads of its requests.
//!
//! Every request has a limit of its own, a little later than that of the one before it, and nearly none is reached. A timer
//! for each would be put into the runtime's wheel and taken out again, which all cores share. So one stays there, for the
//! earliest limit it was told of: when that is over, it is set to the limit that holds by then.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;

/// For one connection, which waits for one head at a time.
#[derive(Clone)]
pub struct HeadTimer(Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>);

struct Limit {
    timer: HeadTimer,
    deadline: tokio::time::Instant,
}

impl HeadTimer {
    /// For limits that are not before `first` from now.
    pub fn new(first: Duration) -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(first)))))
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Limit { timer: self.clone(), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Sleep for Limit {}

impl Future for Limit {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.timer.0.lock();
        loop {
            if inner.deadline() > self.deadline {
                inner.as_mut().reset(self.deadline);
            }
            ready!(inner.as_mut().poll(context));
            if tokio::time::Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            inner.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_limit_holds_whatever_was_told_before() {
        let timer = HeadTimer::new(Duration::from_secs(60));
        let begin = timer.now();
        for (after, limit) in [(0, 60), (50, 60), (1, 60), (1, 2)] {
            tokio::time::sleep(Duration::from_secs(after)).await;
            let asked = timer.now();
            // Most are dropped before their time.
            let mut dropped = timer.sleep(Duration::from_secs(limit));
            assert!(futures::poll!(&mut dropped).is_pending());
            drop(dropped);
            timer.sleep(Duration::from_secs(limit)).await;
            assert_eq!((timer.now() - asked).as_secs(), limit, "asked {:?} after the begin", asked - begin);
        }
    }
}
