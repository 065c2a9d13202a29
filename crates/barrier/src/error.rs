//! Why a barrier does not open, and how the errors of the layers below look from here.

use crate::keyring::KeyringError;
use crate::level::Levels;
use crate::view::StoreError;

/// Why a store was not initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a keyring already, perhaps since a moment ago.
    #[error("already initialized")]
    AlreadyInitialized,
    /// The root key does not have 32 bytes.
    #[error("the root key must have 32 bytes")]
    RootKeyLength,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the barrier stays sealed.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// There is no keyring.
    #[error("not initialized")]
    NotInitialized,
    /// The root key is not the one of this keyring.
    #[error("the root key is wrong")]
    WrongKey,
    /// The keyring cannot be read.
    #[error("the keyring is damaged: {0}")]
    Damaged(String),
    /// The store is at a feature level that this version does not serve.
    #[error(
        "the store is at feature level {level}, and this version serves {served}: run a version that serves level {level}"
    )]
    Level {
        /// That of the store.
        level: u8,
        /// Those of this version.
        served: Levels,
    },
    /// The store did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<holdfast_storage::Error> for StoreError {
    fn from(error: holdfast_storage::Error) -> Self {
        use holdfast_storage::Error;
        match error {
            Error::NoSpace => Self::NoSpace,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<KeyringError> for StoreError {
    fn from(error: KeyringError) -> Self {
        Self::Corrupt { path: "keyring".to_owned(), reason: error.to_string() }
    }
}

impl From<KeyringError> for UnsealError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::WrongKey => Self::WrongKey,
            KeyringError::Damaged(reason) => Self::Damaged(reason.to_owned()),
        }
    }
}
