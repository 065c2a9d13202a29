//! The agent against a server of a few lines that keeps bindings as the real one does.

mod life;
mod server;
