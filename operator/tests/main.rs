//! The operator's binary against a real Kubernetes API server (with etcd, without nodes) and a stand-in for the Holdfast
//! server that records what is asked of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;
mod lifecycle;
mod pods;
mod seal;
mod stand_in;
