//! `print`

use clap::Subcommand;

use crate::{failure::Failure, session::Session};

/// Print what this command runs with.
#[derive(Subcommand)]
pub enum Print {
    /// The token of this session.
    Token,
}

impl Print {
    pub(crate) fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Token => {
                session.print(session.api().client().token().map(|token| token.expose()).unwrap_or_default());
                Ok(())
            }
        }
    }
}
