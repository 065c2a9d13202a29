//! The engine against a real PostgreSQL, which is started here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod connection;
mod members;
mod mount;
mod postgres;
mod users;
