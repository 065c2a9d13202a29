//! Where and how applications reach the server through the agent.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::texts::is_false;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where.
    pub address: Address,
    /// Chain and key, PEM files; none: without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Refuse requests without the header `X-Vault-Request: true`, which pages in a browser cannot send.
    #[serde(default, skip_serializing_if = "is_false")]
    pub require_request_header: bool,
    /// `/agent/v1/quit` ends the agent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub enable_quit: bool,
    /// `/agent/v1/metrics` only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub metrics_only: bool,
}

/// An address of one of two kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// Host and port.
    Tcp(SocketAddr),
    /// A Unix socket with permission bits, octal.
    Unix(PathBuf, String),
}

/// What the listeners do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Put the agent's token in requests.
    #[serde(default)]
    pub use_token: UseToken,
    /// Keep leases and tokens that were made through the agent, renew them, and answer the same requests with them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cache: bool,
}

/// Whose token a request through the agent carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UseToken {
    /// Its own.
    #[default]
    Never,
    /// The agent's, if it has none.
    Missing,
    /// The agent's, whatever it has.
    Always,
}
