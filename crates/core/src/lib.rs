//! The request pipeline, mounts, tokens, leases and the sys paths.
//!
//! Read [`pipeline`] first: one request from top to bottom.

pub mod admission;
pub mod answer;
pub mod audit;
pub mod binding;
pub mod call;
pub mod config;
pub mod core;
mod cubbyhole;
pub mod error;
pub mod events;
mod fresh;
pub mod front;
mod in_flight;
pub mod lease;
mod lifecycle;
pub mod lockout;
pub mod metrics;
mod metrics_json;
pub mod mounts;
pub mod namespaces;
pub mod open;
pub mod openapi;
pub mod passwords;
pub mod pipeline;
mod policies;
pub mod process;
pub mod quota;
pub mod raw;
pub mod reference;
pub mod registry;
mod rights;
mod storage;
mod sys;
mod tidying;
pub mod token;
pub mod unbroken;
mod within;

pub use answer::{Answer, Pieces};
pub use audit::{AuditConfig, ConfiguredDevice};
pub use config::{CoreConfig, InitStep, OPEN_AUDIT, OpenAudit, SYSTEM_TTL};
pub use core::Core;
pub use error::Error;
pub use events::{Ended, Subscription};
pub use front::{Cors, Greeting};
use holdfast_logical::cidr;
pub use metrics::Metrics;
pub use process::{NoProcess, Process};
pub use raw::{BodyStream, Doors, Raw, Verb};
pub use registry::{Class, Registry};
pub use unbroken::unbroken;
pub use within::within;
