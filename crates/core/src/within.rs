//! A limit in time for work that is mostly done at once.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;

/// The outcome of the work; `None`: it took longer, and is given up. As tokio's `timeout`, but work that waits for nothing
/// costs no timer, which all cores would share.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    match futures::poll!(&mut work) {
        std::task::Poll::Ready(outcome) => Some(outcome),
        std::task::Poll::Pending => timeout(limit, work).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_done_at_once_or_in_time_or_given_up() {
        let after = |seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            seconds
        };
        assert_eq!(within(Duration::from_secs(5), std::future::ready(0)).await, Some(0));
        assert_eq!(within(Duration::from_secs(5), after(4)).await, Some(4));
        assert_eq!(within(Duration::from_secs(5), after(6)).await, None);
    }
}
