//! Policies as a token meets them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod decisions;
mod merged;
mod reference;
mod rules;
mod texts;
