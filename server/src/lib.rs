//! The composition root: configuration, wiring, the holdfast binary.

pub mod arguments;
pub mod config;
pub mod metrics;
pub mod process;
