//! `delete`

use clap::Args;
use http::Method;

use crate::{
    failure::{During, Failure},
    input,
    session::Session,
};

/// Delete data and configuration.
#[derive(Args)]
pub struct Delete {
    /// Path.
    path: String,
    /// Parameters of the query, key=value.
    parameters: Vec<String>,
}

impl Delete {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = self.path.trim_matches('/');
        let query = input::query(&input::texts(&self.parameters)?);
        let sent = session.api().secret(Method::DELETE, path, &query, None).await;
        let envelope = sent.during(format_args!("deleting {path}"))?;
        session.secret_or(envelope.as_ref(), &format!("Success! Data deleted (if it existed) at: {path}"))
    }
}
