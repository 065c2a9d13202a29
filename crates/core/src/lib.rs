//! The request pipeline, mounts, tokens, leases and the sys paths.
//!
//! Read [`pipeline`] first: one request from top to bottom.

pub mod answer;
pub mod binding;
pub mod error;
pub mod lease;
pub mod raw;
pub mod registry;

pub use answer::Answer;
pub use error::Error;
pub use raw::{Raw, Verb};
pub use registry::{Class, Registry};
