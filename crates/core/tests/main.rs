//! The core as its listener sees it, over a store in memory.

mod audit;
mod bench;
mod lifecycle;
mod mounts;
mod policies;
mod tokens;
mod wrapping;
