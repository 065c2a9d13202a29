//! The keys of the barrier: one base key for ever, and terms, the newest of which encrypts.
//!
//! Stored as one record, sealed under the root key: version 1 (one byte), nonce (24 bytes), XAES-256-GCM of a JSON document.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use holdfast_base::{Entropy, Timestamp};
use holdfast_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::xaes::{KEY, NONCE, Xaes};

const VERSION: u8 = 1;
const AAD: &[u8] = b"holdfast keyring 1";

/// Why a stored keyring is not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyringError {
    /// Sealed under another root key.
    #[error("the root key is not the one of this keyring")]
    WrongKey,
    /// Not a keyring, or one of a newer version.
    #[error("the keyring is damaged: {0}")]
    Damaged(&'static str),
}

/// All keys in memory.
pub struct Keyring {
    base: Zeroizing<[u8; KEY]>,
    active: u32,
    terms: BTreeMap<u32, Term>,
}

/// One generation of the encryption key.
pub struct Term {
    raw: Zeroizing<[u8; KEY]>,
    /// The key, ready for use.
    pub cipher: Xaes,
    /// When it became the active one.
    pub install_time: Timestamp,
}

#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct Document {
    base: String,
    terms: Vec<TermDocument>,
}

#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct TermDocument {
    term: u32,
    key: String,
    install_time: String,
}

impl Keyring {
    /// A new keyring with a first term.
    pub fn generate(entropy: &dyn Entropy, now: Timestamp) -> Self {
        let base = draw(entropy);
        let mut keyring = Self { base, active: 0, terms: BTreeMap::new() };
        keyring.add_term(entropy, now);
        keyring
    }

    /// Draws a new term and makes it the active one; returns its number.
    pub fn add_term(&mut self, entropy: &dyn Entropy, now: Timestamp) -> u32 {
        self.active += 1;
        self.terms.insert(self.active, Term::new(draw(entropy), now));
        self.active
    }

    /// The same keys once more, for a change that is not yet stored.
    pub fn duplicate(&self) -> Self {
        let terms = self.terms.iter().map(|(term, t)| (*term, Term::new(t.raw.clone(), t.install_time)));
        Self { base: self.base.clone(), active: self.active, terms: terms.collect() }
    }

    /// Number of the term that encrypts.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// A term by its number.
    pub fn term(&self, term: u32) -> Option<&Term> {
        self.terms.get(&term)
    }

    /// A key that follows from the base key and a label and survives rotation.
    pub fn derive(&self, label: &str, key: &mut [u8]) {
        // Only an output of more than 8,160 bytes is refused.
        if Hkdf::<Sha256>::new(Some(b"holdfast barrier 1"), self.base.as_slice()).expand(label.as_bytes(), key).is_err()
        {
            key.zeroize();
        }
    }

    /// The stored form.
    pub fn seal(&self, root_key: &[u8; KEY], entropy: &dyn Entropy) -> Result<Vec<u8>, KeyringError> {
        let document = Document {
            base: STANDARD.encode(self.base.as_slice()),
            terms: self
                .terms
                .iter()
                .map(|(term, t)| TermDocument {
                    term: *term,
                    key: STANDARD.encode(t.raw.as_slice()),
                    install_time: t.install_time.to_string(),
                })
                .collect(),
        };
        let plain = serde_json::to_vec(&document).map_err(|_| KeyringError::Damaged("does not encode"))?;
        let plain = Zeroizing::new(plain);
        let mut nonce = [0u8; NONCE];
        entropy.fill(&mut nonce);
        let sealed =
            Xaes::new(root_key).seal(&nonce, AAD, &plain).map_err(|_| KeyringError::Damaged("does not encrypt"))?;
        Ok([&[VERSION][..], &nonce, &sealed].concat())
    }

    /// Reads the stored form.
    pub fn open(root_key: &[u8; KEY], stored: &[u8]) -> Result<Self, KeyringError> {
        let (version, rest) = stored.split_first().ok_or(KeyringError::Damaged("empty"))?;
        if *version != VERSION {
            return Err(KeyringError::Damaged("unknown format version"));
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(KeyringError::Damaged("cut off"))?;
        let plain = Xaes::new(root_key).open(nonce, AAD, sealed).map_err(|_| KeyringError::WrongKey)?;
        let document: Document =
            serde_json::from_slice(&plain).map_err(|_| KeyringError::Damaged("not a keyring document"))?;
        let mut keyring = Self { base: decode(&document.base)?, active: 0, terms: BTreeMap::new() };
        for term in &document.terms {
            let time = term.install_time.parse().map_err(|_| KeyringError::Damaged("time of a term"))?;
            keyring.terms.insert(term.term, Term::new(decode(&term.key)?, time));
            keyring.active = keyring.active.max(term.term);
        }
        if keyring.terms.is_empty() {
            return Err(KeyringError::Damaged("no term"));
        }
        Ok(keyring)
    }
}

impl Term {
    fn new(raw: Zeroizing<[u8; KEY]>, install_time: Timestamp) -> Self {
        Self { cipher: Xaes::new(&raw), raw, install_time }
    }
}

/// A root key of the right length.
pub fn root_key(bytes: &SecretBytes) -> Option<Zeroizing<[u8; KEY]>> {
    <[u8; KEY]>::try_from(bytes.expose()).ok().map(Zeroizing::new)
}

fn draw(entropy: &dyn Entropy) -> Zeroizing<[u8; KEY]> {
    let mut key = Zeroizing::new([0u8; KEY]);
    entropy.fill(key.as_mut_slice());
    key
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY]>, KeyringError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyringError::Damaged("a key is not base64"))?);
    let key = <[u8; KEY]>::try_from(bytes.as_slice()).map_err(|_| KeyringError::Damaged("length of a key"))?;
    Ok(Zeroizing::new(key))
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    #[test]
    fn comes_back_from_its_stored_form_and_only_under_its_root_key() {
        let entropy = SeededEntropy::new(3);
        let mut keyring = Keyring::generate(&entropy, Timestamp::UNIX_EPOCH);
        assert_eq!(keyring.add_term(&entropy, Timestamp::UNIX_EPOCH), 2);
        let stored = keyring.seal(&[8; 32], &entropy).unwrap();
        let again = Keyring::open(&[8; 32], &stored).unwrap();
        assert_eq!(again.active(), 2);
        let (mut a, mut b) = ([0; 32], [0; 32]);
        keyring.derive("salt", &mut a);
        again.derive("salt", &mut b);
        assert_eq!(a, b);
        assert_eq!(Keyring::open(&[9; 32], &stored).err(), Some(KeyringError::WrongKey));
    }

    #[test]
    fn a_newer_format_is_named() {
        assert_eq!(Keyring::open(&[8; 32], &[2; 60]).err(), Some(KeyringError::Damaged("unknown format version")));
    }
}
