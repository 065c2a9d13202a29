//! The method against an API server that is played here, with tokens that are really signed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod cluster;
mod login;
mod mount;
mod settings;
