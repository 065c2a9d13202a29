//! Wall time and a monotonic clock that also counts suspended time.

use std::time::Duration;

use parking_lot::Mutex;

/// A moment of wall time, UTC, nanosecond resolution. Serialised as RFC 3339.
pub type Timestamp = jiff::Timestamp;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Wall time: for what people read and what is stored.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start, never going back, counted while the machine sleeps (CLOCK_BOOTTIME).
    fn boottime(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Timestamp, Duration)>);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boottime(&self) -> Duration {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or(0))
    }
}

impl ManualClock {
    /// A clock that shows `start` and a boottime of zero.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new((start, Duration::ZERO)))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.lock();
        state.0 += by;
        state.1 += by;
    }

    /// Moves the wall clock only, also backwards, as a wrong NTP answer would.
    pub fn set_wall(&self, now: Timestamp) {
        self.0.lock().0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().0
    }

    fn boottime(&self) -> Duration {
        self.0.lock().1
    }
}
