//! The agent: logs in, renders items to files or to the variables of a program, renews and rotates what they hold, tells
//! the application, and passes its requests on.
//!
//! In injected pods the webhook writes the [`config::Config`]; elsewhere a file in the format of Vault's agent is read into
//! one ([`file`]).

pub mod action;
pub mod arguments;
pub mod backoff;
pub mod command;
pub mod config;
pub mod control;
pub mod dependency;
pub mod exec;
pub mod failure;
pub mod file;
pub mod files;
pub mod hear;
pub mod items;
pub mod metrics;
pub mod nudge;
pub mod pid_file;
pub mod proxy;
pub mod run;
pub mod session;
pub mod sinks;
pub mod status;
