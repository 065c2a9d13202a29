//! Why a request was not served. The HTTP status of each is in `http/src/status.rs` and nowhere else.

use holdfast_logical::{Error as Logical, StoreError};

/// The outcome of a request that was not served. The text of `Display` is what goes into `errors`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What engines may answer too: 400, 403, 404, 405, 503, 500 and the few with a status of their own. An
    /// `Unavailable` or `Internal` text is for the log; clients may be told it, it holds no secret.
    #[error(transparent)]
    Logical(#[from] Logical),
    /// 503.
    #[error("Vault is sealed")]
    Sealed,
    /// 501 on `sys/health`, else 400 or 503 as Vault does.
    #[error("server is not yet initialized")]
    NotInitialized,
    /// 500: no audit device took the entry, so nothing was done or answered.
    #[error("failed to audit {0}, cannot continue")]
    Audit(&'static str),
}

impl Error {
    /// 400 with this text.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Logical(Logical::Invalid(text.into()))
    }

    /// 403 `permission denied`.
    pub fn denied() -> Self {
        Self::Logical(Logical::Denied("permission denied".to_owned()))
    }

    /// Is it the server's trouble and not the client's?
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Audit(_) | Self::Logical(Logical::Internal(_) | Logical::Unavailable(_)))
    }

    /// 403 because of the policies.
    pub(crate) fn denied_by_policy() -> Self {
        Self::Logical(Logical::Denied("1 error occurred:\n\t* permission denied\n\n".to_owned()))
    }

    /// 403 because of the token.
    pub(crate) fn invalid_token() -> Self {
        let text = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
        Self::Logical(Logical::Denied(text.to_owned()))
    }

    /// A second copy: errors have no `Clone`, since they usually move.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Sealed => Self::Sealed,
            Self::NotInitialized => Self::NotInitialized,
            Self::Audit(what) => Self::Audit(what),
            Self::Logical(Logical::Invalid(text)) => Self::Logical(Logical::Invalid(text.clone())),
            Self::Logical(Logical::Credentials(text)) => Self::Logical(Logical::Credentials(text.clone())),
            Self::Logical(Logical::Denied(text)) => Self::Logical(Logical::Denied(text.clone())),
            Self::Logical(Logical::NotFound(text)) => Self::Logical(Logical::NotFound(text.clone())),
            Self::Logical(Logical::UnsupportedOperation) => Self::Logical(Logical::UnsupportedOperation),
            Self::Logical(Logical::Status { code, message }) => {
                Self::Logical(Logical::Status { code: *code, message: message.clone() })
            }
            Self::Logical(Logical::Unavailable(text)) => Self::Logical(Logical::Unavailable(text.clone())),
            Self::Logical(Logical::Internal(text)) => Self::Logical(Logical::Internal(text.clone())),
        }
    }

    /// 404 with an empty `errors` list.
    pub fn not_found() -> Self {
        Self::Logical(Logical::NotFound(None))
    }

    /// 500 with this text.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::Logical(Logical::Internal(text.into()))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Sealed => Self::Sealed,
            other => Self::Logical(other.into()),
        }
    }
}
