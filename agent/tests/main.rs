//! The agent against a server of a few lines that keeps bindings as the real one does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests say what they expect")]

mod ends;
mod life;
mod program;
mod proxy;
mod scraped;
mod server;
mod told;
