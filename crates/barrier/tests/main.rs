//! The barrier as its users see it: over memory, over a store that loses answers, over two replicas.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate; the lints know only test functions")]

mod basics;
mod cached;
mod cluster;
#[path = "../../storage-etcd/tests/etcd.rs"]
mod etcd;
mod faults;
mod fixtures;
mod full;
mod hub;
mod integrity;
mod keys;
mod level;
mod milestones;
mod mutants;
mod rules;
mod secrecy;
mod serial;
mod stores;
mod support;
