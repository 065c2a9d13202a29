//! Against real etcd processes on free loopback ports.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate; the lints know only test functions")]

mod access;
mod conformance;
mod etcd;
mod gather;
mod silent;
