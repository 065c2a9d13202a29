//! Clock, entropy, identifiers, durations and milestones. Leaf crate: nothing here knows what a secret or a server is.
//!
//! Time and randomness are *given* to whoever needs them, so that a test can hold the clock still and repeat a draw.

pub mod clock;
pub mod duration;
pub mod entropy;
pub mod glob;
pub mod id;
pub mod milestone;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use milestone::Milestone;
