//! How replicas reach each other, as seen from here: messages of bytes, answered with bytes.
//!
//! Over the network that is mutual TLS (`holdfast-peer`); in tests a channel. What is said is `session/acks`.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_secret::SecretBytes;
use serde::{Deserialize, Serialize};

/// What replicas must agree on to read from memory together. Others meet by asking the store before each read.
pub const PROTOCOL: u8 = 1;

/// Where a replica listens to others, and how it is known there. Part of its member record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// Fingerprint of the certificate that it shows, hexadecimal. Drawn anew with each unseal.
    pub key: String,
    /// Oldest and newest protocol that it speaks, see [`PROTOCOL`].
    pub protocols: (u8, u8),
}

impl Endpoint {
    /// Whether there is a protocol that it speaks and one who speaks these.
    pub fn speaks(&self, ours: (u8, u8)) -> bool {
        self.protocols.0 <= ours.1 && ours.0 <= self.protocols.1
    }
}

/// Why a peer did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection, or it broke.
    #[error("cannot reach a replica at {address}: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Somebody else answers there.
    #[error("who answers at {address} is not the replica that is expected there")]
    Stranger {
        /// Where it should be.
        address: String,
    },
}

/// The way to other replicas of a process that may be unsealed.
#[async_trait]
pub trait PeerNet: Debug + Send + Sync + 'static {
    /// Draws an identity, vouched for by who knows `secret` (32 bytes, the same on all replicas), and listens until the
    /// link is closed. Nothing of it is ever written down.
    async fn open(&self, secret: &SecretBytes, inbox: Arc<dyn Inbox>) -> std::io::Result<Arc<dyn PeerLink>>;
}

/// An open one.
#[async_trait]
pub trait PeerLink: Send + Sync + 'static {
    /// Where this replica listens.
    fn endpoint(&self) -> Endpoint;

    /// Sends a message and waits for the answer. If it is dropped half way, the next call begins on a new connection.
    async fn call(&self, to: &Endpoint, message: Bytes) -> Result<Bytes, PeerError>;

    /// Listens no more and ends all connections.
    fn close(&self);
}

/// What replicas tell each other for those above the store: small, and lost without harm.
pub trait Notes: Send + Sync + 'static {
    /// What there is to tell that is newer than the note of this number, and its own number. `None`: nothing.
    fn tell(&self, since: u64) -> Option<(u64, String)>;

    /// What another replica tells; each note comes once or never.
    fn hear(&self, note: &str);
}

/// Takes messages.
pub trait Inbox: Send + Sync + 'static {
    /// A message of who shows this fingerprint; the answer goes back. It is empty if we do not know him, or not yet.
    fn receive(&self, fingerprint: &str, message: &[u8]) -> Bytes;
}
