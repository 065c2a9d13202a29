//! What a failed call means for what was asked. The one place that decides it.
//!
//! Only what etcd itself says before it does anything is "for certain": its texts start with `etcdserver:`. gRPC libraries use
//! the same codes for faults of their own, after the call may have been carried out. A connection that was never made
//! counts as certain too: nothing was sent.

use std::error::Error as _;

use holdfast_storage::Error;
use tonic::{Code, Status};

/// Sorts a failure.
pub fn sort(status: &Status) -> Error {
    if never_sent(status) {
        return Error::Unreachable(describe(status));
    }
    let Some(text) = status.message().strip_prefix("etcdserver:").map(str::trim) else {
        return Error::Unknown(describe(status));
    };
    match status.code() {
        Code::OutOfRange if text.contains("compacted") => Error::Compacted(0),
        Code::OutOfRange if text.contains("future revision") => Error::Future,
        Code::ResourceExhausted if text.contains("database space exceeded") => Error::NoSpace,
        Code::InvalidArgument if text.contains("too large") || text.contains("too many operations") => {
            Error::TooLarge(text.to_owned())
        }
        Code::OutOfRange
        | Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::NotFound
        | Code::FailedPrecondition => Error::Failed(text.to_owned()),
        Code::ResourceExhausted if text.contains("too many requests") => Error::Failed(text.to_owned()),
        _ => Error::Unknown(describe(status)),
    }
}

/// Whether the token is no longer good; the call was refused before anything was done.
pub fn needs_new_token(status: &Status) -> bool {
    let text = status.message();
    text.contains("etcdserver: invalid auth token") || text.contains("etcdserver: revision of auth store is old")
}

/// Whether no connection could be made, so that nothing was sent.
pub fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The failure with all its causes, the last of which tells what is wrong (a certificate, a refused connection).
pub fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&more);
        }
        cause = error.source();
    }
    if text.is_empty() { format!("{:?}", status.code()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_etcd_says_itself_is_certain() {
        let cases = [
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", Error::Compacted(0)),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", Error::Future),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Error::NoSpace),
            (
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request",
                Error::TooLarge("too many operations in txn request".to_owned()),
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes",
                Error::Unknown("Error, decoded message length too large: found 5 bytes".to_owned()),
            ),
            (Code::Unavailable, "etcdserver: leader changed", Error::Unknown("etcdserver: leader changed".to_owned())),
            (Code::ResourceExhausted, "etcdserver: too many requests", Error::Failed("too many requests".to_owned())),
        ];
        for (code, text, expected) in cases {
            assert_eq!(sort(&Status::new(code, text)), expected, "{text}");
        }
    }
}
