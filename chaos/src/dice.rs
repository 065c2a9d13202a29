//! Choices that a seed repeats.

use std::time::Duration;

use holdfast_base::{Entropy, SeededEntropy};

/// A sequence of choices.
pub struct Dice(SeededEntropy);

impl Dice {
    /// The sequence of this seed, and of a stream within it.
    pub fn new(seed: u64, stream: u64) -> Self {
        // SplitMix64 mixes what it steps over: neighbouring streams have nothing in common.
        Self(SeededEntropy::new(seed.wrapping_mul(0x9e6c_63d0_876a_3f6b) ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    /// A number below `sides`, which is not 0.
    pub fn below(&mut self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % sides
    }

    /// An index of a list of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    /// Whether something of this chance in a hundred happens.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// A time from `least` to below `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.below(span.max(1)))
    }
}
