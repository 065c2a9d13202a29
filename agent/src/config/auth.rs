//! How to log in, and where the token goes.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::texts::{default_mode, is_false, is_no, optional_duration};

/// How to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Mount of the method, without `auth/`.
    pub mount: String,
    /// Empty: the server chooses the role of the service account.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// File with the token that is shown: the pod's, a JWT, or with [`Method::TokenFile`] the token of the server itself.
    pub token_path: PathBuf,
    /// Which method.
    #[serde(default, skip_serializing_if = "is_no")]
    pub method: Method,
    /// Namespace of the method, if not the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// End when a login fails, rather than try again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exit_on_error: bool,
    /// Shortest wait between attempts; default 0.2 s.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub min_backoff: Option<Duration>,
    /// Longest wait between attempts; default 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub max_backoff: Option<Duration>,
}

/// An auth method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// With the pod's token.
    #[default]
    Kubernetes,
    /// With a JWT of any issuer.
    Jwt {
        /// Remove the file once it has been read.
        #[serde(default, skip_serializing_if = "is_false")]
        remove: bool,
    },
    /// With role id and secret id.
    Approle {
        /// File with the role id.
        role_id: PathBuf,
        /// File with the secret id; the role may do without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_id: Option<PathBuf>,
        /// Path that the secret id was wrapped at; with it the file holds the wrapping token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wrapped_at: Option<String>,
        /// Remove the file of the secret id once it has been read.
        #[serde(default, skip_serializing_if = "is_false")]
        remove: bool,
    },
    /// With a TLS client certificate: that of the server's connection, or these PEM files. The role is the name.
    Cert {
        /// Chain and key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<(PathBuf, PathBuf)>,
    },
    /// A file holds the token.
    TokenFile,
    /// Not at all: a proxy for requests that bring their own token.
    None,
}

/// A file that gets the login token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Which.
    pub path: PathBuf,
    /// Permissions, octal.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// User and group, names or numbers; empty: as the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(String, String)>,
    /// Wrap the token for so long: the file holds the answer of the wrapping as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub wrap_ttl: Option<Duration>,
}
