//! `path-help`

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::{
    failure::{During, Failure},
    format::Format,
    session::Session,
};

/// Show what a path is for; of a mount, which paths it has.
#[derive(Args)]
pub struct PathHelp {
    /// Path, such as database/creds/reader, sys or auth/token.
    path: String,
}

impl PathHelp {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = self.path.trim_matches('/');
        let answer = session.api().call(Method::GET, path, "help=1", None).await;
        let answer = answer.during(format_args!("retrieving help for {path}"))?;
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::local(format!("Error reading the help for {path}: {error}")))?;
        if session.format() != Format::Table {
            return session.value(&body, String::new);
        }
        let text = body.get("help").and_then(Value::as_str).unwrap_or_default();
        session.print(text.trim());
        Ok(())
    }
}
