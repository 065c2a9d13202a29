//! Time as leases count it: a jump of the wall clock must not revoke anything early.
//!
//! The wall clock is believed as long as it moves with CLOCK_BOOTTIME. When the two part by more than [`JUMP`], the
//! boottime is counted on from the last good moment until the wall comes back. The highest time seen is stored, so that
//! a start with a clock that went back goes on from there.

use std::{sync::Arc, time::Duration};

use holdfast_base::{Clock, Timestamp};
use parking_lot::Mutex;

use super::record;

/// Difference between wall and boottime that is a jump rather than a correction.
const JUMP: Duration = Duration::from_secs(60);

pub(crate) struct Time {
    clock: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
}

struct Anchor {
    wall: Timestamp,
    boot: Duration,
    jumped: bool,
}

impl Time {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let anchor = Mutex::new(Anchor { wall: clock.now(), boot: clock.boottime(), jumped: false });
        Self { clock, anchor }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let (wall, boot) = (self.clock.now(), self.clock.boottime());
        let mut anchor = self.anchor.lock();
        let counted = record::after(anchor.wall, boot.saturating_sub(anchor.boot));
        let apart = wall.duration_since(counted).unsigned_abs();
        if apart <= JUMP {
            if anchor.jumped {
                tracing::info!("the wall clock agrees with the time since boot again");
            }
            *anchor = Anchor { wall, boot, jumped: false };
            return wall;
        }
        if !anchor.jumped {
            anchor.jumped = true;
            tracing::error!(
                seconds = apart.as_secs(),
                "the wall clock jumped; leases go on by the time since boot until it comes back"
            );
        }
        counted
    }

    /// Takes the highest time that was stored: if the wall is behind it by more than a correction, time goes on from
    /// there.
    pub fn at_least(&self, stored: Timestamp) {
        let now = self.now();
        if stored.duration_since(now) > JUMP.try_into().unwrap_or_default() {
            let boot = self.clock.boottime();
            *self.anchor.lock() = Anchor { wall: stored, boot, jumped: false };
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::ManualClock;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_jump_forward_is_not_believed_and_time_goes_on() {
        let clock = Arc::new(ManualClock::new(second(1_000)));
        let time = Time::new(clock.clone());
        clock.set_wall(second(4_600));
        assert_eq!(time.now(), second(1_000));
        clock.advance(Duration::from_secs(10));
        assert_eq!(time.now(), second(1_010));
        clock.set_wall(second(1_011));
        assert_eq!(time.now(), second(1_011));
    }

    #[test]
    fn a_stored_time_ahead_of_the_clock_is_gone_on_from() {
        let clock = Arc::new(ManualClock::new(second(1_000)));
        let time = Time::new(clock.clone());
        time.at_least(second(5_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now(), second(5_001));
    }
}
