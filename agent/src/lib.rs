//! The agent of injected pods: logs in with the pod's own token, renders items to files, renews and rotates what they
//! hold, and tells the application.
//!
//! The library is there for the webhook, which writes the [`config::Config`] that the agent reads, and for tests.

pub mod action;
pub mod backoff;
pub mod config;
pub mod dependency;
pub mod failure;
pub mod files;
pub mod items;
pub mod run;
pub mod session;
pub mod status;
