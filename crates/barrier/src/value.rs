//! How a value is stored. Format version 1, byte by byte, big-endian:
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 16 | batch id: member that wrote it |
//! | 17 | 1 | batch id: lane of that member |
//! | 18 | 8 | batch id: sequence number on that lane |
//! | 26 | 16 | MAC: HMAC-SHA-256, cut to 16 bytes, over version, batch id, GCM tag, path |
//! | 42 | 4 | key term |
//! | 46 | 24 | nonce |
//! | 70 | n | ciphertext |
//! | 70+n | 16 | GCM tag |
//!
//! The ciphertext is XAES-256-GCM under the key of the term, with associated data `holdfast value`, format version, term and the
//! full plain path: a value moved to another key does not decrypt. The MAC binds a value to the batch that wrote it, and each
//! batch is recorded once on its lane: an old value put back carries a batch id that is not that of its revision. The MAC is
//! made when the batch is built, so that a value is encrypted before it waits, and once.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use holdfast_base::Entropy;
use holdfast_secret::SecretBytes;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keyring::Keyring;
use crate::xaes::{NONCE, TAG};

/// Format version written by this build.
pub const VERSION: u8 = 1;
/// Bytes that a stored value has more than the plain one.
pub const OVERHEAD: usize = HEADER + TAG;

const MAC: usize = 16;
const TERM_AT: usize = 42;
const NONCE_AT: usize = 46;
const HEADER: usize = 70;

/// The batch that wrote a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// Random id of the process that wrote it.
    pub member: [u8; 16],
    /// Number of its lane.
    pub lane: u8,
    /// Number of the batch on that lane.
    pub seq: u64,
}

/// A value that is encrypted, but in no batch yet.
#[derive(Clone, Debug)]
pub struct Encrypted {
    term: u32,
    nonce: [u8; NONCE],
    sealed: Vec<u8>,
}

/// Key of the MACs on values and records: the state of a MAC that has it taken in.
pub struct MacKey(Hmac<Sha256>);

/// Why a stored value is not usable.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ValueError {
    /// Shorter than its header.
    #[error("cut off")]
    CutOff,
    /// Written by a newer version, or no value at all.
    #[error("unknown format version")]
    Version,
    /// The header is not that of this value at this path.
    #[error("the batch header is not authentic")]
    Header,
    /// The term is not in the keyring.
    #[error("unknown key term")]
    Term,
    /// Wrong key or place, or changed.
    #[error("does not decrypt")]
    Decrypt,
}

/// Encrypts for a path under the active term.
pub fn encrypt(
    keyring: &Keyring,
    entropy: &dyn Entropy,
    path: &str,
    plain: &SecretBytes,
) -> Result<Encrypted, ValueError> {
    let term = keyring.active();
    let cipher = &keyring.term(term).ok_or(ValueError::Term)?.cipher;
    let mut nonce = [0u8; NONCE];
    entropy.fill(&mut nonce);
    let sealed = cipher.seal(&nonce, &aad(term, path), plain.expose()).map_err(|_| ValueError::Decrypt)?;
    Ok(Encrypted { term, nonce, sealed })
}

/// Decrypts what is stored at a path, after checking its header.
pub fn decrypt(keyring: &Keyring, mac: &MacKey, path: &str, stored: &[u8]) -> Result<SecretBytes, ValueError> {
    check_header(mac, path, stored)?;
    let term = u32::from_be_bytes(array(stored, TERM_AT)?);
    let nonce: [u8; NONCE] = array(stored, NONCE_AT)?;
    let cipher = &keyring.term(term).ok_or(ValueError::Term)?.cipher;
    let plain = cipher.open(&nonce, &aad(term, path), &stored[HEADER..]).map_err(|_| ValueError::Decrypt)?;
    Ok(SecretBytes::new(plain.to_vec()))
}

/// The batch that a stored value claims to be from; the claim is authentic.
pub fn check_header(mac: &MacKey, path: &str, stored: &[u8]) -> Result<BatchId, ValueError> {
    if stored.first() != Some(&VERSION) {
        return Err(if stored.is_empty() { ValueError::CutOff } else { ValueError::Version });
    }
    if stored.len() < OVERHEAD {
        return Err(ValueError::CutOff);
    }
    let batch = BatchId { member: array(stored, 1)?, lane: stored[17], seq: u64::from_be_bytes(array(stored, 18)?) };
    let tag = &stored[stored.len() - TAG..];
    let expected = mac.begin(batch, tag, path);
    expected.verify_truncated_left(&stored[26..26 + MAC]).map_err(|_| ValueError::Header)?;
    Ok(batch)
}

/// The batch that a stored value claims to be from, authentic or not.
pub fn claimed_batch(stored: &[u8]) -> Option<BatchId> {
    if stored.first() != Some(&VERSION) || stored.len() < OVERHEAD {
        return None;
    }
    let seq = u64::from_be_bytes(array(stored, 18).ok()?);
    Some(BatchId { member: array(stored, 1).ok()?, lane: stored[17], seq })
}

/// The term a stored value is encrypted under.
pub fn term(stored: &[u8]) -> Option<u32> {
    array(stored, TERM_AT).ok().map(u32::from_be_bytes)
}

// === impl Encrypted ===

impl Encrypted {
    /// The term it is encrypted under.
    pub fn term(&self) -> u32 {
        self.term
    }

    /// Bytes it will have when stored.
    pub fn stored_len(&self) -> usize {
        HEADER + self.sealed.len()
    }

    /// The stored form, as part of a batch.
    pub fn stamp(&self, mac: &MacKey, path: &str, batch: BatchId) -> Bytes {
        let tag = &self.sealed[self.sealed.len().saturating_sub(TAG)..];
        let header_mac = mac.begin(batch, tag, path).finalize().into_bytes();
        let mut stored = Vec::with_capacity(self.stored_len());
        stored.push(VERSION);
        stored.extend_from_slice(&batch.member);
        stored.push(batch.lane);
        stored.extend_from_slice(&batch.seq.to_be_bytes());
        stored.extend_from_slice(&header_mac[..MAC]);
        stored.extend_from_slice(&self.term.to_be_bytes());
        stored.extend_from_slice(&self.nonce);
        stored.extend_from_slice(&self.sealed);
        stored.into()
    }
}

// === impl MacKey ===

impl MacKey {
    /// From the keyring; survives rotation.
    pub fn new(keyring: &Keyring) -> Self {
        let mut key = Zeroizing::new([0u8; 32]);
        keyring.derive("mac", key.as_mut_slice());
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let keyed = Hmac::new_from_slice(key.as_slice()).expect("any length");
        Self(keyed)
    }

    /// A MAC over parts of which only the last varies in length.
    pub fn over(&self, parts: &[&[u8]]) -> [u8; MAC] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        let mut cut = [0u8; MAC];
        cut.copy_from_slice(&mac.finalize().into_bytes()[..MAC]);
        cut
    }

    fn begin(&self, batch: BatchId, tag: &[u8], path: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"holdfast value header");
        mac.update(&[VERSION]);
        mac.update(&batch.member);
        mac.update(&[batch.lane]);
        mac.update(&batch.seq.to_be_bytes());
        mac.update(tag);
        mac.update(path.as_bytes());
        mac
    }
}

fn aad(term: u32, path: &str) -> Vec<u8> {
    [b"holdfast value".as_slice(), &[VERSION], &term.to_be_bytes(), path.as_bytes()].concat()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ValueError> {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or(ValueError::CutOff)
}

#[cfg(test)]
mod tests {
    use holdfast_base::{SeededEntropy, Timestamp};

    use super::*;

    const BATCH: BatchId = BatchId { member: [5; 16], lane: 1, seq: 42 };

    fn keys() -> (Keyring, MacKey, SeededEntropy) {
        let entropy = SeededEntropy::new(11);
        let keyring = Keyring::generate(&entropy, Timestamp::UNIX_EPOCH);
        let mac = MacKey::new(&keyring);
        (keyring, mac, entropy)
    }

    #[test]
    fn comes_back_at_its_place_only() {
        let (keyring, mac, entropy) = keys();
        let stored =
            encrypt(&keyring, &entropy, "a/b", &SecretBytes::new(*b"plain")).unwrap().stamp(&mac, "a/b", BATCH);
        assert_eq!(stored.len(), OVERHEAD + 5);
        assert_eq!(decrypt(&keyring, &mac, "a/b", &stored).unwrap(), SecretBytes::new(*b"plain"));
        assert_eq!(check_header(&mac, "a/b", &stored), Ok(BATCH));
        assert_eq!(decrypt(&keyring, &mac, "a/c", &stored), Err(ValueError::Header));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (keyring, mac, entropy) = keys();
        let stored = encrypt(&keyring, &entropy, "a", &SecretBytes::new(*b"plain")).unwrap().stamp(&mac, "a", BATCH);
        for at in 0..stored.len() {
            let mut changed = stored.to_vec();
            changed[at] ^= 0x10;
            assert!(decrypt(&keyring, &mac, "a", &changed).is_err(), "byte {at}");
            assert!(decrypt(&keyring, &mac, "a", &stored[..at]).is_err(), "cut at {at}");
        }
    }
}
