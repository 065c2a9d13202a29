//! The driver as a process, between a kubelet and a server that the tests play, with real mounts. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod away;
mod certificates;
mod kubelet;
mod lifecycle;
mod mounts;
mod node;
mod provider;
mod registration;
mod sanity;
mod server;
