//! What can go wrong for a volume, in words for the pod's event, and the one table of gRPC codes for it.

use tonic::{Code, Status};

/// Why a volume can't be had. The text ends up in the pod's `FailedMount` event: it names the item, the path, the role
/// and what to do, and never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request or the volume's attributes are wrong; repeating won't help.
    #[error("{0}")]
    Invalid(String),
    /// The server says that the pod may not have it, or the token is not the pod's.
    #[error("{0}")]
    Denied(String),
    /// Something that is named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The volume is there already, differently.
    #[error("{0}")]
    Conflict(String),
    /// The server or the cluster does not answer; it may later.
    #[error("{0}")]
    Unavailable(String),
    /// The node failed us: mount, disk.
    #[error("{0}")]
    Node(String),
}

impl Failure {
    /// Its gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Denied(_) => Code::PermissionDenied,
            Self::NotFound(_) => Code::NotFound,
            Self::Conflict(_) => Code::AlreadyExists,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Node(_) => Code::Internal,
        }
    }

    /// May the same request work later without anything being changed?
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The same failure with words in front.
    pub fn context(self, what: &str) -> Self {
        let with = |text: String| format!("{what}: {text}");
        match self {
            Self::Invalid(text) => Self::Invalid(with(text)),
            Self::Denied(text) => Self::Denied(with(text)),
            Self::NotFound(text) => Self::NotFound(with(text)),
            Self::Conflict(text) => Self::Conflict(with(text)),
            Self::Unavailable(text) => Self::Unavailable(with(text)),
            Self::Node(text) => Self::Node(with(text)),
        }
    }

    /// Label of metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Denied(_) => "denied",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Unavailable(_) => "unavailable",
            Self::Node(_) => "node",
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code(), failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_code_that_csi_asks_for() {
        let text = || "x".to_owned();
        for (failure, code) in [
            (Failure::Invalid(text()), Code::InvalidArgument),
            (Failure::Denied(text()), Code::PermissionDenied),
            (Failure::NotFound(text()), Code::NotFound),
            (Failure::Conflict(text()), Code::AlreadyExists),
            (Failure::Unavailable(text()), Code::Unavailable),
            (Failure::Node(text()), Code::Internal),
        ] {
            let status = Status::from(failure.context("item a"));
            assert_eq!((status.code(), status.message()), (code, "item a: x"));
        }
    }
}
