//! The mutating webhook: pods that ask for it by annotations get the agent. A library so that tests see its parts.

pub mod annotations;
pub mod authority;
pub mod certificate;
pub mod credential;
pub mod mutate;
pub mod review;
pub mod serve;
