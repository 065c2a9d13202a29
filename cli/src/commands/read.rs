//! `read`

use clap::Args;

use crate::{
    failure::{During, Failure},
    format::Format,
    input,
    session::{self, Session},
};

/// Read data and credentials.
#[derive(Args)]
pub struct Read {
    /// Path, such as secret/data/app or database/creds/reader.
    path: String,
    /// Parameters of the query, key=value.
    parameters: Vec<String>,
}

impl Read {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let path = self.path.trim_matches('/');
        let query = input::query(&input::texts(&self.parameters)?);
        if session.format() == Format::Raw && session.field().is_none() {
            let answer = session.api().call(http::Method::GET, path, &query, None).await;
            let answer = answer.during(format_args!("reading {path}"))?;
            session.print_alone(&String::from_utf8_lossy(&answer.body));
            return Ok(());
        }
        let envelope = session.api().read(path, &query).await.during(format_args!("reading {path}"))?;
        let nothing = || Failure::Nothing(format!("No value found at {path}"));
        let envelope = envelope.ok_or_else(nothing)?;
        if !session::has_content(&envelope) {
            session.warnings(&envelope);
            return Err(nothing());
        }
        session.secret(&envelope)
    }
}
