//! Initialising, unsealing, sealing, and what people hold.

mod audited;
pub(crate) mod generate_root;
mod init;
mod keyholders;
mod migrate;
pub(crate) mod paths;
pub(crate) mod rekey;
pub(crate) mod restore;
pub(crate) mod rotation;
mod self_init;
pub(crate) mod slot;
mod status;
mod unseal;

use holdfast_seal::Collector;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What people have given so far.
#[derive(Default)]
pub(crate) struct Ceremony {
    /// Shares of a running unseal attempt.
    pub unseal: Option<Attempt>,
}

/// Shares on their way to a key.
pub(crate) struct Attempt {
    pub nonce: String,
    pub shares: Collector,
}

/// The record `seal-config`, outside the barrier: what must be known to unseal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SealConfig {
    /// Seal type: at initialisation, or since the last change of seals.
    pub kind: String,
    /// Unseal shares made; 1 where the key is stored.
    pub shares: u8,
    /// Unseal shares needed.
    pub threshold: u8,
    /// Recovery shares made; 0 without.
    pub recovery_shares: u8,
    /// Recovery shares needed.
    pub recovery_threshold: u8,
    /// A keyed hash of the recovery key and its two numbers; empty without.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recovery_check: String,
}

/// Names of records outside the barrier.
const SEAL_CONFIG: &str = "seal-config";
const ROOT_KEY: &str = "root-key";
const SELF_INIT: &str = "self-init";

/// Below `core/`: a keyed hash of the recovery key, as versions before `recovery_check` kept it.
const RECOVERY: &str = "recovery";

/// A share or key as people give it: hexadecimal or base64. Hexadecimal of no sensible length is tried as base64.
fn decode_key(text: &str) -> Result<holdfast_secret::SecretBytes, Error> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let fits = |bytes: &Vec<u8>| (32..=33).contains(&bytes.len());
    let decoded = hex::decode(text).ok().filter(fits).or_else(|| STANDARD.decode(text).ok());
    decoded
        .map(holdfast_secret::SecretBytes::new)
        .ok_or_else(|| Error::invalid("'key' must be a valid hex or base64 string"))
}
