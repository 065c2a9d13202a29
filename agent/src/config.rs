//! What the webhook tells the agent: one JSON document in an environment variable or a file.

use std::{path::PathBuf, time::Duration};

use holdfast_base::duration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::action::Action;

/// Environment variable that holds the document itself.
pub const ENV: &str = "HOLDFAST_AGENT_CONFIG";
/// Where the token of the pod is projected to.
pub const TOKEN_PATH: &str = "/var/run/secrets/holdfast.dev/token";
/// Audience of that token.
pub const AUDIENCE: &str = "holdfast";
/// In application containers whose processes get signals: the name of the container.
pub const CONTAINER_ENV: &str = "HOLDFAST_CONTAINER";

/// The whole document. Unknown fields are refused: an agent that is older than its webhook says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to reach the server.
    pub server: Server,
    /// How to log in.
    pub auth: Auth,
    /// What to render; names are unique.
    pub items: Vec<Item>,
    /// Where `status.json` goes; readable by the application.
    pub status_dir: PathBuf,
    /// How often unleased paths are read again.
    #[serde(with = "text_duration")]
    pub refresh: Duration,
    /// How long the first render may take before the agent ends with a reason.
    #[serde(with = "text_duration")]
    pub init_timeout: Duration,
    /// Also write the login token here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Revoke what was issued when the agent ends. Off: a container restart is no reason to lose a credential; the
    /// operator revokes when the pod is gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub revoke_on_exit: bool,
    /// `error` … `trace`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_level: String,
    /// `text` or `json`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_format: String,
}

/// How to reach the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `https://host:port`.
    pub address: String,
    /// Certificate authorities to trust, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// The same as a file in the agent's container; read at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Do not check the server's certificate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tls_skip_verify: bool,
    /// Name to expect in the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    /// Namespace of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// For one request; default 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub timeout: Option<Duration>,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Mount of the kubernetes method, without `auth/`.
    pub mount: String,
    /// Empty: the server chooses the role of the service account.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// File with the pod's token.
    pub token_path: PathBuf,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// As in the annotation.
    pub name: String,
    /// If there is one, the fields that are read there are the template's `.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How long the lease of that path is to be; the server's default otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub ttl: Option<Duration>,
    /// Template text.
    pub template: String,
    /// Delimiters, if not the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiters: Option<(String, String)>,
    /// Fail on a key that is not there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub error_on_missing_key: bool,
    /// Absolute path of the file.
    pub file: PathBuf,
    /// Permissions, octal.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// After a change, not after the first render.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_change: Vec<Action>,
}

/// Why a document is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither variable nor file.
    #[error("no configuration: set {ENV} or give --config FILE")]
    None,
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not such a document.
    #[error("configuration: {0}")]
    Json(#[from] serde_json::Error),
    /// A value makes no sense.
    #[error("configuration: {0}")]
    Value(String),
}

impl Config {
    /// Reads the file, or else the environment variable.
    pub fn load(file: Option<PathBuf>) -> Result<Self, Error> {
        let text = match file {
            Some(path) => std::fs::read_to_string(&path).map_err(|source| Error::File { path, source })?,
            None => std::env::var(ENV).map_err(|_| Error::None)?,
        };
        Self::from_json(&text)
    }

    /// Reads and checks a document.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let config: Self = serde_json::from_str(text)?;
        for item in &config.items {
            item.permissions().map_err(Error::Value)?;
            if !item.file.is_absolute() {
                return Err(Error::Value(format!("{}: file {:?} is not absolute", item.name, item.file)));
            }
        }
        if config.refresh < Duration::from_millis(100) {
            return Err(Error::Value("refresh: at least 100ms".to_owned()));
        }
        Ok(config)
    }
}

impl Item {
    /// Permission bits of the file.
    pub fn permissions(&self) -> Result<u32, String> {
        u32::from_str_radix(&self.mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| format!("{}: mode {:?} is no octal number up to 0777", self.name, self.mode))
    }
}

fn default_mode() -> String {
    "0644".to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_false(value: &bool) -> bool {
    !value
}

mod text_duration {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::format(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        duration::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod optional_duration {
    use super::*;

    #[expect(clippy::ref_option, reason = "the signature that serde wants")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(duration::format).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::text_duration::deserialize(deserializer).map(Some)
    }
}
