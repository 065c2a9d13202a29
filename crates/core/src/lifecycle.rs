//! Initialising, unsealing, sealing, and what people hold.

mod audited;
mod generate_root;
mod init;
pub(crate) mod paths;
mod self_init;
mod status;
mod unseal;

use holdfast_seal::Collector;
use serde::{Deserialize, Serialize};

use crate::{Core, Error};

/// What people have given so far.
#[derive(Default)]
pub(crate) struct Ceremony {
    /// Shares of a running unseal attempt.
    pub unseal: Option<Attempt>,
    /// A running generation of a root token.
    pub root: Option<generate_root::Generation>,
}

/// Shares on their way to a key.
pub(crate) struct Attempt {
    pub nonce: String,
    pub shares: Collector,
}

/// The record `seal-config`, outside the barrier: what must be known to unseal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SealConfig {
    /// Seal type at initialisation.
    pub kind: String,
    /// Unseal shares made; 1 where the key is stored.
    pub shares: u8,
    /// Unseal shares needed.
    pub threshold: u8,
    /// Recovery shares made; 0 without.
    pub recovery_shares: u8,
    /// Recovery shares needed.
    pub recovery_threshold: u8,
}

/// Names of records outside the barrier.
const SEAL_CONFIG: &str = "seal-config";
const ROOT_KEY: &str = "root-key";
const SELF_INIT: &str = "self-init";

/// Below `core/`: a keyed hash of the recovery key.
const RECOVERY: &str = "recovery";

impl Core {
    pub(crate) async fn seal_config(&self) -> Result<Option<SealConfig>, Error> {
        let Some((bytes, _)) = self.config().barrier.read_clear(SEAL_CONFIG).await? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(config) => Ok(Some(config)),
            Err(_) => Err(Error::internal("the stored seal configuration is damaged")),
        }
    }
}

/// A share or key as people give it: hexadecimal or base64. Hexadecimal of no sensible length is tried as base64.
fn decode_key(text: &str) -> Result<holdfast_secret::SecretBytes, Error> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let fits = |bytes: &Vec<u8>| (32..=33).contains(&bytes.len());
    let decoded = hex::decode(text).ok().filter(fits).or_else(|| STANDARD.decode(text).ok());
    decoded
        .map(holdfast_secret::SecretBytes::new)
        .ok_or_else(|| Error::invalid("'key' must be a valid hex or base64 string"))
}
