//! `write` and `patch`

use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use crate::{
    failure::{During, Failure},
    input,
    session::Session,
};

/// Write data and configuration.
#[derive(Args)]
pub struct Write {
    /// Write without data.
    #[arg(long, alias = "f")]
    pub(crate) force: bool,
    /// Path.
    path: String,
    /// key=value, key=@file, key=-, @file.json or - (JSON from standard input).
    data: Vec<String>,
}

/// Merge into data (PATCH, RFC 7396).
#[derive(Args)]
pub struct Patch {
    /// Patch without data.
    #[arg(long, alias = "f")]
    force: bool,
    /// Path.
    path: String,
    /// key=value, key=@file, key=-, @file.json or - (JSON from standard input).
    data: Vec<String>,
}

impl Write {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        send(session, Method::PUT, &self.path, body(&self.data, self.force)?).await
    }
}

impl Patch {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        send(session, Method::PATCH, &self.path, body(&self.data, self.force)?).await
    }
}

fn body(data: &[String], force: bool) -> Result<Map<String, Value>, Failure> {
    if data.is_empty() && !force {
        return Err(Failure::local("Must supply data or use -force"));
    }
    input::data(data)
}

async fn send(session: &Session, method: Method, path: &str, body: Map<String, Value>) -> Result<(), Failure> {
    let path = path.trim_start_matches('/');
    let sent = session.api().secret(method, path, "", Some(Value::Object(body))).await;
    let envelope = sent.during(format_args!("writing data to {path}"))?;
    session.secret_or(envelope.as_ref(), &format!("Success! Data written to: {path}"))
}
