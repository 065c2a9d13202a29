//! Where lines go.

use async_trait::async_trait;
use holdfast_base::Milestone;

use crate::Record;

/// Why a line was not taken. Counts as not written; it may still appear.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Opening, writing or syncing failed.
    #[error("{what}: {reason}")]
    Io {
        /// What was tried, and on which file.
        what: String,
        /// The system's words.
        reason: String,
    },
    /// More lines wait than may.
    #[error("the queue is full")]
    Full,
    /// The writer is gone.
    #[error("the writer has ended")]
    Ended,
}

impl SinkError {
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Io { what, reason } => Self::Io { what: what.clone(), reason: reason.clone() },
            Self::Full => Self::Full,
            Self::Ended => Self::Ended,
        }
    }
}

/// Takes lines and answers when they are safe.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Returns when the line is as durable as this sink can make it. Lines of one caller keep their order.
    async fn write(&self, record: Record) -> Result<(), SinkError>;

    /// Opens the target again, after a rotation.
    async fn reopen(&self) -> Result<(), SinkError>;

    /// Returns when all that was given before is written, and a checkpoint behind it if the sink keeps a chain. `store` is how
    /// far the store has come, if that is news.
    async fn checkpoint(&self, _store: Option<Milestone>) -> Result<(), SinkError> {
        Ok(())
    }
}
