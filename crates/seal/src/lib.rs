//! How the root key of the barrier is kept between starts: by people ([`ShamirSeal`]) or wrapped under a key that the server is
//! given ([`StaticSeal`]).

mod fixed;
mod recipient;
mod shares;

use async_trait::async_trait;
pub use fixed::{StaticSeal, parse_key};
use holdfast_secret::SecretBytes;
pub use recipient::Recipient;
pub use shares::{Collector, Progress, ShamirSeal, ShareConfig};

/// Kind of the seal whose key people hold.
pub const SHAMIR: &str = "shamir";

/// Bytes of a root key.
pub const ROOT_KEY: usize = 32;

/// Why a seal did not do it. No text holds a key or a share.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This seal keeps no root key; people do.
    #[error("the shamir seal stores no key: unseal with key shares")]
    NoStoredKey,
    /// The blob was wrapped under a key that this seal does not have.
    #[error("wrapped under the static seal key {wrapped:?}, but the configured one is {configured:?}")]
    OtherKey {
        /// Id in the blob.
        wrapped: String,
        /// Ids that are configured.
        configured: String,
    },
    /// The id is right, the key is not, or the blob was changed.
    #[error(
        "the static seal key {0:?} does not unwrap the stored root key: it is another key under the same id, or the stored key is damaged"
    )]
    WrongKey(String),
    /// Not a blob of this seal.
    #[error("the wrapped root key is damaged: {0}")]
    Damaged(&'static str),
    /// The given key is not usable.
    #[error("{0}")]
    BadKey(&'static str),
    /// The shares are not usable.
    #[error(transparent)]
    Shares(#[from] holdfast_shamir::Error),
    /// Nothing can be encrypted to this PGP key.
    #[error("{0}")]
    BadRecipient(String),
    /// Shares that were just made do not give their key: they must not be handed out.
    #[error("the new shares do not combine to their key; nothing was changed")]
    BadShares,
    /// Nothing can be made with these numbers.
    #[error("{0}")]
    BadShareConfig(&'static str),
}

/// A way to keep the root key.
#[async_trait]
pub trait Seal: Send + Sync + 'static {
    /// Its name in configuration and status: `shamir`, `static`.
    fn kind(&self) -> &'static str;

    /// Whether the root key is stored wrapped, so that a start needs nobody.
    fn stored_keys(&self) -> bool;

    /// The root key in a form that may be stored.
    async fn wrap(&self, root_key: &SecretBytes) -> Result<Vec<u8>, Error>;

    /// The root key from its stored form.
    async fn unwrap(&self, wrapped: &[u8]) -> Result<SecretBytes, Error>;

    /// Whether what [`Seal::unwrap`] takes here should be replaced by a new [`Seal::wrap`]: it rests on a key that is about
    /// to be retired.
    fn is_outdated(&self, wrapped: &[u8]) -> bool {
        let _ = wrapped;
        false
    }
}
