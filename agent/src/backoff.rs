//! Waiting after failures: exponential, capped, with full jitter; and jitter for renewals.

use std::{sync::Arc, time::Duration};

use holdfast_base::Entropy;

/// First wait.
const BASE: Duration = Duration::from_secs(1);
/// Longest wait.
const CAP: Duration = Duration::from_secs(30);

/// Draws waits.
#[derive(Clone)]
pub struct Jitter(Arc<dyn Entropy>);

impl Jitter {
    /// Draws from `entropy`.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self(entropy)
    }

    /// The wait after `failures` failures in a row: between 0.2 s and min(30 s, 2^(failures-1) s).
    pub fn after_failures(&self, failures: u32) -> Duration {
        let most = BASE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(CAP);
        most.mul_f64(self.draw()).max(Duration::from_millis(200))
    }

    /// `fraction` of `whole`, up to a tenth more or less.
    pub fn around(&self, whole: Duration, fraction: f64) -> Duration {
        whole.mul_f64(fraction * (0.9 + 0.2 * self.draw()))
    }

    /// From 0 to 1.
    fn draw(&self) -> f64 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_vanish() {
        let jitter = Jitter::new(Arc::new(SeededEntropy::new(3)));
        for failures in 1..60 {
            let wait = jitter.after_failures(failures);
            assert!(wait >= Duration::from_millis(200) && wait <= CAP, "{failures}: {wait:?}");
            assert!(wait <= BASE * (1 << (failures - 1).min(10)), "{failures}: {wait:?}");
        }
        assert!((0..50).any(|_| jitter.after_failures(10) > CAP / 2));
    }

    #[test]
    fn renewals_are_due_around_two_thirds() {
        let jitter = Jitter::new(Arc::new(SeededEntropy::new(4)));
        for _ in 0..100 {
            let due = jitter.around(Duration::from_secs(3600), 2.0 / 3.0).as_secs();
            assert!((2160..=2640).contains(&due), "{due}");
        }
    }
}
