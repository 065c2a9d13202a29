//! The identity store as the core drives it, over a barrier on memory storage; two stores on one are two replicas.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod bench;
mod entities;
mod groups;
mod invariants;
mod login;
mod merge;
mod oidc;
