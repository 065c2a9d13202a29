//! Whether the watch feeds memory, and what memory may be read for without it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const RUNS: u64 = u64::MAX;
const DOUBTFUL: u64 = 0;

/// The state of the watch.
///
/// One that broke off takes nothing from what memory shows: others wait with their answers until it shows them as well, and who
/// is alone waits for what was answered here. But whether the store is still the one that it was is known again only when the
/// watch goes on; so no heartbeat counts for memory that was sent meanwhile.
pub(super) struct Feed(AtomicU64);

impl Feed {
    /// There was no watch yet.
    pub fn new() -> Self {
        Self(AtomicU64::new(DOUBTFUL))
    }

    /// It runs.
    pub fn runs(&self) -> bool {
        self.0.load(Ordering::SeqCst) == RUNS
    }

    /// It has begun, at a store that has the past that memory shows.
    pub fn begun(&self) {
        self.0.store(RUNS, Ordering::SeqCst);
    }

    /// It broke off, at this boottime.
    pub fn broke_off(&self, now: Duration) {
        // Who doubts already has more reason.
        let _ = self.0.compare_exchange(RUNS, nanos(now), Ordering::SeqCst, Ordering::SeqCst);
    }

    /// What memory shows is not to be relied on until it begins.
    pub fn doubt(&self) {
        self.0.store(DOUBTFUL, Ordering::SeqCst);
    }

    /// The boottime, in nanoseconds, as of which a heartbeat sent at `confirmed` entitles to read from memory. 0: not at all.
    pub fn counted(&self, confirmed: u64) -> u64 {
        confirmed.min(self.0.load(Ordering::SeqCst))
    }
}

/// A boottime in nanoseconds, never 0: that means none, and a machine is never that young.
pub(super) fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(RUNS - 1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_count_until_it_breaks_off_and_from_when_it_goes_on() {
        let feed = Feed::new();
        assert_eq!((feed.runs(), feed.counted(7)), (false, 0));
        feed.begun();
        assert_eq!((feed.runs(), feed.counted(7)), (true, 7));
        feed.broke_off(Duration::from_nanos(9));
        assert_eq!((feed.runs(), feed.counted(7), feed.counted(12)), (false, 7, 9));
        feed.broke_off(Duration::from_nanos(11));
        assert_eq!(feed.counted(12), 9, "it broke off once");
        feed.doubt();
        feed.broke_off(Duration::from_nanos(11));
        assert_eq!(feed.counted(12), 0);
        feed.begun();
        assert_eq!(feed.counted(12), 12);
    }
}
