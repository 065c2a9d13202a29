//! The listener over real sockets: TLS with and without client certificates, reload, limits, deadlines, draining.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests say what they expect")]

mod abuse;
mod budget;
mod fixture;
mod limits;
mod tls;
