//! The identity store as the core drives it, over a barrier on memory storage; two stores are two replicas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]
