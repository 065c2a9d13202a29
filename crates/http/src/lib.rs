//! The HTTP listener: bytes to requests of the core, answers of the core to bytes.
//!
//! Read in this order: [`listener`] accepts and drains connections, [`exchange`] takes one request through,
//! [`request`] reads it ([`path`], [`query`], [`body`], [`forwarded`] are its parts), [`answer`] writes what the core
//! said, and [`status`] is the one table from outcomes to HTTP status codes. [`tls`] asks for client certificates
//! without verifying them and exchanges the server's own certificate while running. [`budget`] and [`connections`] bound
//! what all callers together may hold, [`cors`] and [`custom_headers`] are about the headers of answers.

pub mod answer;
pub mod body;
pub mod budget;
pub mod connections;
pub mod cors;
pub mod custom_headers;
pub mod exchange;
pub mod forwarded;
pub mod listener;
pub mod path;
mod pieces;
pub mod query;
pub mod request;
pub mod status;
mod timer;
pub mod tls;
mod websocket;

pub use budget::Budget;
pub use custom_headers::CustomHeaders;
pub use exchange::{Handle, Site};
pub use forwarded::{Network, TrustedProxies};
pub use listener::{Limits, Listener};
pub use tls::{Certificate, ClientCertificates, Tls, Versions};
