//! `sys/config/cors` as it is stored.

use serde::{Deserialize, Serialize};

use crate::Error;

/// What is allowed to pages of other origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cors {
    /// Off: browsers decide by themselves, that is, they refuse.
    pub enabled: bool,
    /// `https://host:port`, or `*` alone.
    pub allowed_origins: Vec<String>,
    /// Beyond the ones that are always allowed.
    pub allowed_headers: Vec<String>,
    /// May the page send cookies and client certificates?
    pub allow_credentials: bool,
}

/// Headers that are always allowed.
const HEADERS: &[&str] = &[
    "Content-Type",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Vault-Policy-Override",
    "Authorization",
    "X-Vault-Token",
    "X-Vault-Namespace",
    "X-Vault-Request",
    "X-Vault-Index",
    "X-Vault-Forward",
    "X-Vault-Inconsistent",
];

impl Cors {
    /// Is the origin one of those?
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }

    /// All headers that may be sent.
    pub fn headers(&self) -> Vec<&str> {
        HEADERS.iter().copied().chain(self.allowed_headers.iter().map(String::as_str)).collect()
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        if self.allowed_origins.is_empty() {
            return Err(Error::invalid("at least one origin or the wildcard must be provided"));
        }
        if self.allowed_origins.len() > 1 && self.allowed_origins.iter().any(|origin| origin == "*") {
            return Err(Error::invalid("to allow all origins the '*' must be the only value for allowed_origins"));
        }
        Ok(())
    }
}
