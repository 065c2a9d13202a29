//! Pauses between tries.

use std::time::Duration;

/// Each pause is twice as long as the one before, up to the longest.
pub(super) struct Pauses {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// None was made yet.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, next: first, longest }
    }

    /// The length of the next one.
    pub fn next(&mut self) -> Duration {
        let longer = (self.next * 2).min(self.longest);
        std::mem::replace(&mut self.next, longer)
    }

    /// Makes the next one.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Something went well: the next one is the first again.
    pub fn begin_anew(&mut self) {
        self.next = self.first;
    }
}
