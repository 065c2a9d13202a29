//! The method as the core drives it, over a barrier on memory storage.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod login;
mod mount;
mod users;
