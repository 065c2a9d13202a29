//! The static seal: the root key wrapped under a key from a file, a Kubernetes Secret or the environment.
//!
//! Stored form, version 1: version (1 byte), length of the key id (1 byte), key id, nonce (12 bytes), AES-256-GCM ciphertext with
//! its tag; version, length and id are associated data. A key wraps a handful of times, so random nonces of 96 bits do.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_base::Entropy;
use holdfast_secret::SecretBytes;
use zeroize::Zeroizing;

use crate::{Error, ROOT_KEY, Seal};

const VERSION: u8 = 1;

/// The root key wrapped under a given key.
pub struct StaticSeal {
    /// The current key first.
    keys: Vec<(String, LessSafeKey)>,
    entropy: Arc<dyn Entropy>,
}

/// A key of 32 bytes from what a file or setting holds: raw bytes, 64 hexadecimal digits, or base64.
pub fn parse_key(given: &[u8]) -> Result<SecretBytes, Error> {
    if given.len() == ROOT_KEY {
        return Ok(SecretBytes::new(given));
    }
    let text = given.trim_ascii();
    let decoded = match text.len() {
        64 => hex::decode(text).ok(),
        _ => STANDARD.decode(text).ok(),
    };
    match decoded.map(SecretBytes::new) {
        Some(key) if key.len() == ROOT_KEY => Ok(key),
        _ => Err(Error::BadKey("a static seal key must be 32 bytes: raw, in hexadecimal or in base64")),
    }
}

impl StaticSeal {
    /// A seal with this key (32 bytes) under this id, which is stored with what it wraps.
    pub fn new(key: &SecretBytes, key_id: &str, entropy: Arc<dyn Entropy>) -> Result<Self, Error> {
        Ok(Self { keys: vec![prepare(key, key_id)?], entropy })
    }

    /// Adds the key that was current before: it still unwraps, and never wraps.
    pub fn with_previous(mut self, key: &SecretBytes, key_id: &str) -> Result<Self, Error> {
        self.keys.push(prepare(key, key_id)?);
        Ok(self)
    }
}

#[async_trait]
impl Seal for StaticSeal {
    fn kind(&self) -> &'static str {
        "static"
    }

    fn stored_keys(&self) -> bool {
        true
    }

    async fn wrap(&self, root_key: &SecretBytes) -> Result<Vec<u8>, Error> {
        let (id, key) = self.keys.first().ok_or(Error::BadKey("no static seal key"))?;
        let mut nonce = [0u8; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        let mut blob = header(id);
        let mut sealed = Zeroizing::new(root_key.expose().to_vec());
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&blob), &mut sealed)
            .map_err(|_| Error::BadKey("the root key does not encrypt"))?;
        blob.extend_from_slice(&nonce);
        blob.extend_from_slice(&sealed);
        blob.extend_from_slice(tag.as_ref());
        Ok(blob)
    }

    async fn unwrap(&self, wrapped: &[u8]) -> Result<SecretBytes, Error> {
        let (header, rest) = split(wrapped)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Error::Damaged("cut off"))?;
        let id = std::str::from_utf8(&header[2..]).map_err(|_| Error::Damaged("key id"))?;
        let Some((_, key)) = self.keys.iter().find(|(known, _)| known == id) else {
            let configured = self.keys.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::OtherKey { wrapped: id.to_owned(), configured });
        };
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(header), &mut buffer)
            .map_err(|_| Error::WrongKey(id.to_owned()))?;
        Ok(SecretBytes::new(&*plain))
    }

    fn is_outdated(&self, wrapped: &[u8]) -> bool {
        let current = self.keys.first().map(|(id, _)| id.as_bytes());
        split(wrapped).is_ok_and(|(header, _)| current != Some(&header[2..]))
    }
}

fn prepare(key: &SecretBytes, id: &str) -> Result<(String, LessSafeKey), Error> {
    if id.is_empty() || id.len() > 255 {
        return Err(Error::BadKey("a static seal key needs an id of 1 to 255 bytes"));
    }
    let unbound =
        UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| Error::BadKey("a static seal key must be 32 bytes"))?;
    Ok((id.to_owned(), LessSafeKey::new(unbound)))
}

/// The header of at least 2 bytes (the id follows them), and what is behind it.
fn split(wrapped: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let [version, length, ..] = wrapped else { return Err(Error::Damaged("cut off")) };
    if *version != VERSION {
        return Err(Error::Damaged("unknown format version"));
    }
    wrapped.split_at_checked(2 + usize::from(*length)).ok_or(Error::Damaged("cut off"))
}

/// Version, length and id. Ids are at most 255 bytes long, see [`prepare`].
fn header(id: &str) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    [&[VERSION, length], id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    fn seal(key: u8, id: &str) -> StaticSeal {
        StaticSeal::new(&SecretBytes::new([key; 32]), id, Arc::new(SeededEntropy::new(4))).unwrap()
    }

    #[tokio::test]
    async fn the_root_key_comes_back() {
        let root = SecretBytes::new([0xaa; 32]);
        let blob = seal(1, "a").wrap(&root).await.unwrap();
        assert!(!blob.windows(4).any(|window| window == [0xaa; 4]));
        assert_eq!(seal(1, "a").unwrap(&blob).await.unwrap(), root);
        let rotated = seal(2, "b").with_previous(&SecretBytes::new([1; 32]), "a").unwrap();
        assert_eq!(rotated.unwrap(&blob).await.unwrap(), root);
        assert!(rotated.is_outdated(&blob) && !seal(1, "a").is_outdated(&blob));
        assert!(!rotated.is_outdated(&rotated.wrap(&root).await.unwrap()));
    }

    #[tokio::test]
    async fn a_wrong_key_is_told_from_another_id_and_from_damage() {
        let blob = seal(1, "a").wrap(&SecretBytes::new([0xaa; 32])).await.unwrap();
        assert!(matches!(seal(2, "a").unwrap(&blob).await, Err(Error::WrongKey(id)) if id == "a"));
        assert!(matches!(seal(1, "b").unwrap(&blob).await, Err(Error::OtherKey { wrapped, .. }) if wrapped == "a"));
        assert!(matches!(seal(1, "a").unwrap(&blob[..3]).await, Err(Error::Damaged(_))));
        assert!(matches!(seal(1, "a").unwrap(&[]).await, Err(Error::Damaged(_))));
    }

    /// What version 1 wrote must unwrap for ever.
    #[tokio::test]
    async fn the_fixture_of_version_1_unwraps() {
        let blob = hex::decode(include_str!("../fixtures/static-v1.hex").trim()).unwrap();
        assert_eq!(seal(1, "fixture").unwrap(&blob).await.unwrap(), SecretBytes::new([0xaa; 32]));
    }

    #[test]
    fn keys_are_read_raw_in_hexadecimal_and_in_base64() {
        let key = SecretBytes::new([0x41; 32]);
        assert_eq!(parse_key(&[0x41; 32]).unwrap(), key);
        assert_eq!(parse_key(format!("{}\n", "41".repeat(32)).as_bytes()).unwrap(), key);
        assert_eq!(parse_key(STANDARD.encode([0x41; 32]).as_bytes()).unwrap(), key);
        assert!(parse_key(b"short").is_err());
    }
}
