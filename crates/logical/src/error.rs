//! What a plug-in may answer other than a response. The HTTP status of each is in `http/src/status.rs`.

use holdfast_barrier::view::StoreError;

/// The outcome of a request that was not served. Texts go to the client and to the audit log: no secret in them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: the request is wrong; the text says which field and what would be right.
    #[error("{0}")]
    Invalid(String),
    /// 400: a login was refused because its credentials are wrong; counted against the user
    /// ([`crate::Backend::login_alias`]).
    #[error("{0}")]
    Credentials(String),
    /// 403 with this text.
    #[error("{0}")]
    Denied(String),
    /// 404; `None` is an empty `errors` list, as for a read that finds nothing.
    #[error("{}", .0.as_deref().unwrap_or("not found"))]
    NotFound(Option<String>),
    /// 405: the path exists, the operation does not.
    #[error("unsupported operation")]
    UnsupportedOperation,
    /// 415, 412, 429, 472 … the few whose status is part of the protocol.
    #[error("{message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// Text for `errors`.
        message: String,
    },
    /// 503: an outside system or the store does not answer; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// 500: the engine failed although the request was right.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A plain 404 with an empty `errors` list.
    pub fn not_found() -> Self {
        Self::NotFound(None)
    }

    /// A 400 with this text.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Sealed => Self::Status { code: 503, message: "Vault is sealed".to_owned() },
            StoreError::TooLarge { .. } => Self::Status { code: 413, message: error.to_string() },
            StoreError::Conflict | StoreError::NoSpace | StoreError::Unavailable(_) => {
                Self::Unavailable(error.to_string())
            }
            StoreError::Corrupt { .. } | StoreError::Encode { .. } => Self::Internal(error.to_string()),
        }
    }
}
