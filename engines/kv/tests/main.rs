//! The engine as the core drives it, over a barrier on memory storage.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod lists;
mod model;
mod mount;
mod upgrade;
mod v1;
mod v2;
