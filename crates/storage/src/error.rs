//! What can go wrong, sorted by what the caller may believe afterwards.

use crate::Revision;

/// Why a store did not answer. For a write the variant tells whether it may have happened.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// For certain nothing was written, and it never will be.
    #[error("the store failed: {0}")]
    Failed(String),
    /// For certain nothing was written: nobody could be asked.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// It may have been written, or may still be.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// For certain nothing was written: larger than the store takes.
    #[error("the store refused: {0}")]
    TooLarge(String),
    /// The store is full. etcd says this also when it did write: treat as unknown.
    #[error("the store is out of space")]
    NoSpace,
    /// The revision asked for is no longer kept; the oldest that is may be told.
    #[error("the revision is compacted, history starts after {0}")]
    Compacted(Revision),
    /// The revision asked for is not there yet.
    #[error("the revision is in the future")]
    Future,
}
