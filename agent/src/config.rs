//! What an agent is to do: a JSON document of the webhook in an environment variable, or made from a configuration file in
//! the format of Vault's agent ([`crate::file`]).

mod auth;
mod inherited;
mod listener;
mod texts;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use self::texts::{default_mode, is_false, is_no, optional_duration, text_duration};
pub use self::{
    auth::{Auth, Method, Sink},
    inherited::Inherited,
    listener::{Address, Listener, Proxy, Tls, TlsVersion, UseToken},
};
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to reach the server.
    pub server: Server,
    /// How to log in.
    pub auth: Auth,
    /// What to render; names are unique.
    pub items: Vec<Item>,
    /// Where `status.json` goes; readable by the application. Empty: nowhere.
    pub status_dir: PathBuf,
    /// How often unleased paths are read again; where the server tells of changes, not more often than once a minute.
    #[serde(with = "text_duration")]
    pub refresh: Duration,
    /// Read so often whether the server tells of changes or not: somebody has said how often.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refresh_always: bool,
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
    /// Do not listen to events of the server: read at intervals only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub poll_only: bool,
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<std::net::SocketAddr>,
    /// Files that get the login token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// A program to run with the variables of the items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// Where applications reach the server through the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
    /// How that is done.
    #[serde(default, skip_serializing_if = "is_no")]
    pub proxy: Proxy,
    /// End after the first login and render, whatever the command.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exit_after_auth: bool,
    /// Failures in a row of one path, after everything was rendered, that end the agent; none: it keeps trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<u32>,
    /// File that holds the process id while the agent runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
}

/// A program that the agent runs, tells of changes, and ends with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Start it anew when a variable or file has changed.
    pub restart: bool,
    /// Signal that ends it, without `SIG`.
    pub stop_signal: String,
    /// How long it has to end by itself.
    #[serde(with = "text_duration")]
    pub grace: Duration,
    /// What it gets of the agent's environment, besides the variables of the items.
    #[serde(default, skip_serializing_if = "is_no")]
    pub inherited: Inherited,
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
    /// Certificate chain and key of the client, PEM files; read at every start and login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// One file, or one variable of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// File in the agent's container that holds the text instead; read at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_file: Option<PathBuf>,
    /// Delimiters, if not the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiters: Option<(String, String)>,
    /// Fail on a key that is not there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub error_on_missing_key: bool,
    /// Functions that the template must not use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied_functions: Vec<String>,
    /// Absolute path of the file; empty with a `variable`.
    #[serde(default, skip_serializing_if = "texts::is_empty")]
    pub file: PathBuf,
    /// Variable of the [`Exec`] program instead of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Permissions, octal.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// User and group of the file, names or numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(String, String)>,
    /// Keep the content before the last change in `<file>.bak`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backup: bool,
    /// Fail rather than make the folder of the file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub folder_must_exist: bool,
    /// The template may read and write files below this folder only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<PathBuf>,
    /// After a change, not after the first render; a program after each.
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
    Unreadable {
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
    /// A configuration file in the format of Vault's agent has a mistake; says where.
    #[error("{0}")]
    File(String),
}

impl Config {
    /// Reads the file, or else the environment variable.
    pub fn load(file: Option<PathBuf>) -> Result<Self, Error> {
        let text = match file {
            Some(path) => std::fs::read_to_string(&path).map_err(|source| Error::Unreadable { path, source })?,
            None => std::env::var(ENV).map_err(|_| Error::None)?,
        };
        Self::from_json(&text)
    }

    /// Reads and checks a document.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let config: Self = serde_json::from_str(text)?;
        for item in &config.items {
            if item.variable.is_none() && !item.file.is_absolute() {
                return Err(Error::Value(format!("{}: file {:?} is not absolute", item.name, item.file)));
            }
        }
        config.check().map_err(Error::Value)?;
        Ok(config)
    }

    /// What holds for every configuration, wherever it came from.
    pub(crate) fn check(&self) -> Result<(), String> {
        for item in &self.items {
            item.permissions()?;
        }
        if self.refresh < Duration::from_millis(100) {
            return Err("refresh: at least 100ms".to_owned());
        }
        if let Some(exec) = &self.exec {
            if exec.command.is_empty() {
                return Err("exec: the command is empty".to_owned());
            }
            if crate::action::signal_by_name(&exec.stop_signal).is_none() {
                return Err(format!("exec: signal {:?} is not known", exec.stop_signal));
            }
        } else if let Some(item) = self.items.iter().find(|item| item.variable.is_some()) {
            return Err(format!("{}: a variable needs an exec, whose program gets it", item.name));
        }
        Ok(())
    }

    /// Does anything need the server to be logged in to?
    pub fn logs_in(&self) -> bool {
        self.auth.method != Method::None
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
