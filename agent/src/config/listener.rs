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
    /// None: without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
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

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, a PEM file.
    pub chain: PathBuf,
    /// Its key, a PEM file.
    pub key: PathBuf,
    /// Clients must show a certificate of one of these authorities, a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// The one version that is spoken; both otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsVersion {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
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
