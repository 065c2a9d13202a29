//! What people hold, and how they prove it: unseal shares where the root key is split, recovery shares where a seal keeps it.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_barrier::Barrier;
use holdfast_logical::{Check, Revision};
use holdfast_seal::{Recipient, SHAMIR, ShareConfig};
use holdfast_secret::{SecretBytes, same};

use super::{RECOVERY, SEAL_CONFIG, SealConfig};
use crate::{Core, Error, open::Open};

impl Core {
    pub(crate) async fn seal_config(&self) -> Result<Option<SealConfig>, Error> {
        Ok(read_config(&self.config().barrier).await?.map(|(config, _)| config))
    }
}

/// The record `seal-config`, with its revision.
pub(super) async fn read_config(barrier: &Barrier) -> Result<Option<(SealConfig, Revision)>, Error> {
    let Some((bytes, revision)) = barrier.read_clear(SEAL_CONFIG).await? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(config) => Ok(Some((config, revision))),
        Err(_) => Err(Error::internal("the stored seal configuration is damaged")),
    }
}

/// The record `seal-config` of a server that serves.
pub(super) async fn config(open: &Open) -> Result<(SealConfig, Revision), Error> {
    read_config(&open.config.barrier).await?.ok_or(Error::NotInitialized)
}

/// How many shares of people prove them; 0 where nobody holds any.
pub(super) async fn needed(open: &Open) -> Result<u8, Error> {
    let (config, _) = config(open).await?;
    Ok(if config.keeps_key() { config.recovery_threshold } else { config.threshold })
}

/// Is this what people hold: the root key itself, or the recovery key?
pub(super) async fn holds(open: &Open, key: &SecretBytes) -> Result<bool, Error> {
    let (config, _) = config(open).await?;
    if !config.keeps_key() {
        return Ok(open.config.barrier.is_root_key(key)?);
    }
    let stored = match config.recovery_check.as_str() {
        // Versions before the check stood in the configuration kept it in the barrier.
        "" => open.root.below("core").get_json::<String>(RECOVERY).await?.map(|(check, _)| check),
        check => Some(check.to_owned()),
    };
    let expected = match config.recovery_check.is_empty() {
        true => mac(&open.config.barrier, key.expose())?,
        false => recovery_check(&open.config.barrier, key, config.recovery_shares, config.recovery_threshold)?,
    };
    Ok(stored.is_some_and(|stored| same(stored, expected)))
}

/// Writes who holds the recovery key from now on: numbers and a keyed hash, in one record.
pub(super) async fn keep_recovery(open: &Open, key: &SecretBytes, shares: ShareConfig) -> Result<(), Error> {
    let (mut config, revision) = config(open).await?;
    config.recovery_shares = shares.shares();
    config.recovery_threshold = shares.threshold();
    config.recovery_check = recovery_check(&open.config.barrier, key, shares.shares(), shares.threshold())?;
    let bytes = config.encode()?;
    open.config.barrier.write_clear(SEAL_CONFIG, Some(bytes), Some(Check::At(revision))).await?;
    Ok(())
}

/// The numbers are part of it, as they stand where whoever reads the store can change them.
pub(super) fn recovery_check(barrier: &Barrier, key: &SecretBytes, shares: u8, threshold: u8) -> Result<String, Error> {
    mac(barrier, &[key.expose(), &[shares, threshold]].concat())
}

fn mac(barrier: &Barrier, what: &[u8]) -> Result<String, Error> {
    let by = barrier.derive_key("recovery key")?;
    Ok(hex::encode(crate::token::hmac(&by, what)))
}

impl SealConfig {
    /// Does a seal keep the root key, so that people hold recovery shares at most?
    pub(super) fn keeps_key(&self) -> bool {
        self.kind != SHAMIR
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::internal("the seal configuration does not encode"))
    }
}

/// Shares as they are handed out.
#[derive(Default)]
pub(super) struct Handout {
    /// Hexadecimal.
    pub keys: Vec<String>,
    /// Base64.
    pub keys_base64: Vec<String>,
    /// Whose PGP keys they are encrypted to, one for each.
    pub fingerprints: Vec<String>,
}

/// Shares in the form in which they leave: as they are, or each encrypted to a PGP key.
pub(super) fn hand_out(open: &Recipients, shares: &[SecretBytes]) -> Result<Handout, Error> {
    let mut handout = Handout::default();
    for (index, share) in shares.iter().enumerate() {
        let bytes = match open.people.get(index) {
            None => SecretBytes::new(share.expose()),
            // As Vault does: what is encrypted is the share in hexadecimal.
            Some(person) => {
                handout.fingerprints.push(person.fingerprint());
                let text = SecretBytes::new(hex::encode(share.expose()).into_bytes());
                SecretBytes::new(person.encrypt(&text, open.entropy).map_err(invalid)?)
            }
        };
        handout.keys.push(hex::encode(bytes.expose()));
        handout.keys_base64.push(STANDARD.encode(bytes.expose()));
    }
    Ok(handout)
}

/// The people who get the shares; none: they leave unencrypted.
pub(super) struct Recipients<'e> {
    people: Vec<Recipient>,
    entropy: &'e dyn holdfast_base::Entropy,
}

impl<'e> Recipients<'e> {
    /// Reads the keys, of which there must be none or one for each share.
    pub fn read(keys: &[String], shares: u8, entropy: &'e dyn holdfast_base::Entropy) -> Result<Self, Error> {
        if !keys.is_empty() && keys.len() != usize::from(shares) {
            let text = "count mismatch between number of provided PGP keys and number of shares";
            return Err(Error::invalid(text));
        }
        let people = keys.iter().map(|key| Recipient::read(key)).collect::<Result<_, _>>().map_err(invalid)?;
        Ok(Self { people, entropy })
    }

    /// Fingerprints in the order of the shares; none without PGP keys.
    pub fn fingerprints(&self) -> Vec<String> {
        self.people.iter().map(Recipient::fingerprint).collect()
    }
}

/// One text encrypted to one PGP key: base64, and the fingerprint.
pub(super) fn encrypt_to(
    key: &str,
    text: &str,
    entropy: &dyn holdfast_base::Entropy,
) -> Result<(String, String), Error> {
    let person = Recipient::read(key).map_err(invalid)?;
    let message = person.encrypt(&SecretBytes::new(text.as_bytes()), entropy).map_err(invalid)?;
    Ok((STANDARD.encode(message), person.fingerprint()))
}

/// Numbers of shares as they are asked for.
pub(super) fn share_config(shares: i64, threshold: i64) -> Result<ShareConfig, Error> {
    let small = |number: i64| u8::try_from(number).map_err(|_| Error::invalid("shares must be between 1 and 255"));
    ShareConfig::new(small(shares)?, small(threshold)?)
        .map_err(|error| Error::invalid(format!("invalid seal configuration: {error}")))
}

fn invalid(error: holdfast_seal::Error) -> Error {
    Error::invalid(error.to_string())
}
