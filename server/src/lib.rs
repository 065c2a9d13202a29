//! The composition root: configuration, wiring, the holdfast binary.
//!
//! [`serve`] is the file to read first: a server from its command line to its end.

pub mod arguments;
pub mod around;
pub mod config;
pub mod dev;
pub mod diagnose;
pub mod front;
pub mod host;
pub mod listeners;
pub mod metrics;
pub mod process;
pub mod reference;
pub mod registry;
pub mod serve;
pub mod store;
