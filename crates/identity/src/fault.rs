//! What an attempt to change something may end in, and how often it is tried.

use std::future::Future;

use holdfast_logical::{Error, StoreError};

/// Attempts before a busy record is reported as such.
const ATTEMPTS: usize = 32;

/// The end of one attempt.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Somebody else was faster: what was read is no longer so.
    Conflict,
    /// The answer.
    Error(Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Conflict,
            error => Self::Error(error.into()),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A 400 with this text.
pub(crate) fn invalid(text: impl Into<String>) -> Fault {
    Fault::Error(Error::invalid(text))
}

/// Reads, decides and commits anew until nobody came in between.
pub(crate) async fn retried<T, F: Future<Output = Result<T, Fault>>>(attempt: impl Fn() -> F) -> Result<T, Error> {
    for _ in 0..ATTEMPTS {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(Fault::Conflict) => {}
            Err(Fault::Error(error)) => return Err(error),
        }
    }
    Err(StoreError::Conflict.into())
}
