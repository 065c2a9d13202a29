//! The core as its listener sees it, over a store in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must say so")]

mod audit;
mod batch;
mod bench;
mod explain;
mod full;
mod identity;
mod keyholders;
mod lifecycle;
mod lifetimes;
mod lockout;
mod mounts;
mod namespaces;
mod paths;
mod policies;
mod quotas;
mod server;
mod snapshots;
mod tidy;
mod tokens;
mod trees;
mod wrapping;
