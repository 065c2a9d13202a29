//! Work that goes on when whoever waits for it goes away.
//!
//! A caller that hangs up must not stop a request between a change outside and its record. While the caller waits, the
//! work runs in the caller's task, which costs nothing; only when it is given up does a task of its own carry it on.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

tokio::task_local! {
    static GIVEN_UP: ();
}

/// Whether this is the rest of work that nobody waits for any more.
pub fn is_given_up() -> bool {
    GIVEN_UP.try_with(|()| ()).is_ok()
}

/// The work panicked. The panic hook has told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// The work, and its end. Dropped before that, inside a runtime, the rest is done in a task that `left` counts.
pub struct Unbroken<'l, T: Send + 'static> {
    rest: Option<BoxFuture<'static, Result<T, Panicked>>>,
    left: &'l TaskTracker,
}

/// Work that is begun at the first poll and then done to its end. `left` counts what nobody waits for any more.
pub fn unbroken<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    left: &TaskTracker,
) -> Unbroken<'_, T> {
    let work = AssertUnwindSafe(work).catch_unwind().map(|outcome| outcome.map_err(|_| Panicked));
    Unbroken { rest: Some(Box::pin(work)), left }
}

impl<T: Send + 'static> Future for Unbroken<'_, T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Polled after its end, it is over.
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let outcome = std::task::ready!(rest.as_mut().poll(context));
        self.rest = None;
        Poll::Ready(outcome)
    }
}

impl<T: Send + 'static> Drop for Unbroken<'_, T> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.rest.take(), Handle::try_current()) {
            self.left.spawn_on(GIVEN_UP.scope((), rest), &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_done_by_whoever_waits() {
        let here = tokio::task::try_id();
        assert_eq!(unbroken(async { tokio::task::try_id() }, &TaskTracker::new()).await, Ok(here));
    }

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits() {
        let ((go, gone), (tell, told)) = (oneshot::channel(), oneshot::channel());
        let left = TaskTracker::new();
        let work = async move {
            let before = is_given_up();
            gone.await.unwrap();
            tell.send((before, is_given_up())).unwrap();
        };
        let mut work = Box::pin(unbroken(work, &left));
        assert!(futures::poll!(&mut work).is_pending());
        assert_eq!(left.len(), 0, "somebody waits");
        drop(work);
        assert_eq!(left.len(), 1);
        go.send(()).unwrap();
        assert_eq!(told.await, Ok((false, true)));
        left.close();
        left.wait().await;
    }

    #[tokio::test]
    async fn it_begins_even_when_nobody_ever_waited() {
        let (tell, told) = oneshot::channel();
        drop(unbroken(async move { tell.send(7).unwrap() }, &TaskTracker::new()));
        assert_eq!(told.await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        let work = async { panic!("as the test wants it") };
        assert_eq!(unbroken(work, &TaskTracker::new()).await, Err::<(), _>(Panicked));
    }
}
