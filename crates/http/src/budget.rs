//! A budget of memory for request bodies, shared by all listeners of the process.
//!
//! Bodies are read before it is known who sends them, so what all of them may hold together is bounded: what arrived, and
//! what it becomes when it is parsed. Small bodies have a share of their own, so that large ones cannot crowd out logins
//! and reads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What one request may hold and still count as small.
const SMALL: usize = 64 << 10;

/// Bytes that all requests together may hold.
#[derive(Debug)]
pub struct Budget {
    small: Pool,
    large: Pool,
}

#[derive(Debug)]
struct Pool {
    used: AtomicUsize,
    most: usize,
}

/// What one request holds; given back when this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
    large: bool,
}

/// The budget is used up: the request may work in a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Exhausted;

// === impl Budget ===

impl Budget {
    /// Of so many bytes: a quarter for requests up to 64 KiB, the rest for larger ones.
    pub fn new(bytes: usize) -> Arc<Self> {
        let pool = |most| Pool { used: AtomicUsize::new(0), most };
        Arc::new(Self { small: pool(bytes / 4), large: pool(bytes - bytes / 4) })
    }

    /// Nothing is held yet.
    pub fn charge(self: &Arc<Self>) -> Charge {
        Charge { budget: self.clone(), bytes: 0, large: false }
    }

    /// Bytes that are held now.
    pub fn used(&self) -> usize {
        self.small.used.load(Ordering::Relaxed) + self.large.used.load(Ordering::Relaxed)
    }
}

impl Default for Budget {
    /// 112 MiB: two of the largest bodies, as sent and as parsed, find no room together.
    fn default() -> Self {
        let pool = |most| Pool { used: AtomicUsize::new(0), most };
        Self { small: pool(32 << 20), large: pool(80 << 20) }
    }
}

// === impl Pool ===

impl Pool {
    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= self.most)
        });
        taken.map(drop).map_err(|_| Exhausted)
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// === impl Charge ===

impl Charge {
    /// Holds so many bytes more.
    pub fn grow(&mut self, more: usize) -> Result<(), Exhausted> {
        let bytes = self.bytes.saturating_add(more);
        if self.large {
            self.budget.large.take(more)?;
        } else if bytes > SMALL {
            self.budget.large.take(bytes)?;
            self.budget.small.give(self.bytes);
            self.large = true;
        } else {
            self.budget.small.take(more)?;
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let pool = if self.large { &self.budget.large } else { &self.budget.small };
        pool.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_is_given_back() {
        let budget = Budget::new(4 * SMALL);
        let mut charge = budget.charge();
        for at_limit in [SMALL, 1, 3 * SMALL - SMALL - 1] {
            charge.grow(at_limit).unwrap();
        }
        assert_eq!(charge.grow(1), Err(Exhausted), "three quarters are for large ones");
        assert_eq!(budget.used(), 3 * SMALL);
        drop(charge);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn large_ones_do_not_crowd_out_small_ones() {
        let budget = Budget::new(4 * SMALL);
        let (mut large, mut small) = (budget.charge(), budget.charge());
        large.grow(3 * SMALL).unwrap();
        small.grow(SMALL).unwrap();
        assert_eq!(small.grow(1), Err(Exhausted));
        assert_eq!(budget.charge().grow(1), Err(Exhausted));
    }
}
