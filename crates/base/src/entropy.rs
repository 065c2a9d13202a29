//! Where random bytes come from.

use std::cell::RefCell;

use parking_lot::Mutex;

/// A source of random bytes. The system's is for production; the seeded one repeats itself.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);

    /// The same for names that are told to everybody, such as ids of requests: may draw many at once. Never for keys,
    /// nonces or tokens, which must differ also when the machine is copied as it runs.
    fn fill_public(&self, buffer: &mut [u8]) {
        self.fill(buffer);
    }
}

/// The kernel's generator (getrandom(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

/// Bytes that a thread draws at once.
const DRAWN: usize = 2048;

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; DRAWN], used: DRAWN }) };
}

/// Random bytes that are drawn and not used yet.
struct Stock {
    bytes: [u8; DRAWN],
    used: usize,
}

impl Stock {
    fn take(&mut self, source: &SystemEntropy, buffer: &mut [u8]) {
        if buffer.len() > DRAWN {
            return source.fill(buffer);
        }
        if self.used + buffer.len() > DRAWN {
            source.fill(&mut self.bytes);
            self.used = 0;
        }
        let taken = &mut self.bytes[self.used..self.used + buffer.len()];
        buffer.copy_from_slice(taken);
        taken.fill(0);
        self.used += buffer.len();
    }
}

/// A repeatable sequence for tests (SplitMix64). Never for keys.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl Entropy for SystemEntropy {
    #[expect(
        clippy::disallowed_methods,
        clippy::expect_used,
        reason = "this is the one place that asks the kernel; without randomness no key may be made, so the process ends"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the kernel gives random bytes");
    }

    fn fill_public(&self, buffer: &mut [u8]) {
        // The stock of a thread that is ending is gone.
        if STOCK.try_with(|stock| stock.borrow_mut().take(self, buffer)).is_err() {
            self.fill(buffer);
        }
    }
}

impl SeededEntropy {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock();
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_drawn_at_once_is_given_out_once() {
        let draw = || {
            let mut id = [0u8; 24];
            SystemEntropy.fill_public(&mut id);
            id
        };
        let drawn: HashSet<_> = (0..1000).map(|_| draw()).collect();
        assert_eq!(drawn.len(), 1000);
        let mut long = vec![0; 3 * DRAWN];
        SystemEntropy.fill_public(&mut long);
        assert!(long[DRAWN..].iter().any(|byte| *byte != 0));
    }
}
