//! How a command ends when it does not succeed: text on standard error, and the exit code.

use std::io::Write;

use crate::api::ApiError;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Wrong use, or something on this machine: exit code 1.
    Local(String),
    /// The server refused, or was not reached: exit code 2.
    Api {
        /// `Error reading secret/x`
        what: String,
        /// What came back.
        error: Box<ApiError>,
    },
    /// The server has nothing there: exit code 2.
    Nothing(String),
    /// All is said already.
    Quiet(u8),
}

impl Failure {
    /// Wrong use, or something on this machine.
    pub fn local(text: impl Into<String>) -> Self {
        Self::Local(text.into())
    }

    /// Says it on standard error, and the exit code.
    pub fn report(self) -> u8 {
        let (text, code) = match self {
            Self::Local(text) => (text, 1),
            Self::Api { error, .. } if matches!(*error, ApiError::Instead(_)) => {
                let _ = writeln!(std::io::stdout(), "{error}");
                return 0;
            }
            Self::Api { what, error } => (format!("{what}: {error}"), 2),
            Self::Nothing(text) => (text, 2),
            Self::Quiet(code) => return code,
        };
        let _ = writeln!(std::io::stderr(), "{text}");
        code
    }
}

/// Adds what was tried.
pub trait During<T> {
    /// `during("reading secret/x")` makes `Error reading secret/x: …`.
    fn during(self, what: impl std::fmt::Display) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, ApiError> {
    fn during(self, what: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Api { what: format!("Error {what}"), error: Box::new(error) })
    }
}
