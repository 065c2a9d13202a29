//! Policies as a token meets them.

mod decisions;
mod reference;
mod texts;
