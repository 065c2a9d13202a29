//! What the core answers, for the listener to write out.

use std::time::Duration;

use holdfast_api_types::Envelope;
use holdfast_logical::Data;
use serde_json::Value;

use crate::{Error, Subscription};

/// Pieces of a body that is made while it is sent.
pub type Pieces = tokio::sync::mpsc::Receiver<Result<bytes::Bytes, std::io::Error>>;

/// The outcome of one request.
pub enum Answer {
    /// 204.
    Empty,
    /// The usual body.
    Envelope {
        /// HTTP status: 200, or what the engine asked for.
        status: u16,
        /// The body.
        envelope: Box<Envelope<Data>>,
        /// Are the keys of `data` also written at the top level, before those of the envelope?
        top_level: bool,
    },
    /// A JSON object that is the whole body: health, seal-status, init, unseal …
    Bare {
        /// HTTP status.
        status: u16,
        /// The body; not written for HEAD.
        body: Value,
    },
    /// Events, for as long as the connection lives; the listener makes it a WebSocket.
    Events(Box<Subscription>),
    /// A body that is not JSON of ours.
    Raw {
        /// HTTP status.
        status: u16,
        /// Content-Type.
        content_type: String,
        /// The body.
        body: Vec<u8>,
        /// How long anybody may keep it; none: not at all.
        max_age: Option<Duration>,
    },
    /// A body that is made while it is sent.
    Stream {
        /// Content-Type.
        content_type: String,
        /// The pieces; an error breaks the connection off.
        pieces: Pieces,
    },
    /// Nothing was done, or what was done was undone. The status table turns it into status and `errors`.
    Error(Error),
}

/// Without bodies: they hold keys, tokens and unwrapped secrets.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Envelope { status, .. } => write!(f, "Envelope({status})"),
            Self::Bare { status, .. } => write!(f, "Bare({status})"),
            Self::Raw { status, content_type, .. } => write!(f, "Raw({status}, {content_type:?})"),
            Self::Events(_) => f.write_str("Events"),
            Self::Stream { content_type, .. } => write!(f, "Stream({content_type:?})"),
            Self::Error(error) => write!(f, "Error({error:?})"),
        }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_body() {
        let bare = Answer::Bare { status: 200, body: Value::from("canary") };
        let raw =
            Answer::Raw { status: 200, content_type: "text/plain".to_owned(), body: b"canary".to_vec(), max_age: None };
        assert_eq!(format!("{bare:?} {raw:?}"), r#"Bare(200) Raw(200, "text/plain")"#);
    }
}
