//! Public keys: from PEM, and in sets (RFC 7517).

use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use serde_json::Value;

use crate::token::algorithm;

/// Most keys of a set that are kept.
const MOST: usize = 256;

/// A public key that signatures are checked with.
pub struct Key {
    id: Option<String>,
    /// The only algorithm it is for, if it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Keys of one issuer.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

impl Key {
    /// A public key, or the one of a certificate, in PEM: RSA, EC on P-256 or P-384, Ed25519.
    pub fn from_pem(pem: &str) -> Option<Self> {
        let pem = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .ok()?;
        Some(Self { id: None, algorithm: None, key })
    }

    /// One of a set; `None` if it is symmetric, for encryption, or of a kind that is not supported.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if matches!(text("kty"), Some("oct")) || text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let algorithm = match text("alg") {
            Some(name) => Some(algorithm(name)?),
            None => None,
        };
        let parsed: Jwk = serde_json::from_value(jwk.clone()).ok()?;
        let key = DecodingKey::from_jwk(&parsed).ok()?;
        Some(Self { id: text("kid").map(str::to_owned), algorithm, key })
    }

    /// The same key by another id.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..self }
    }

    /// May a signature of this algorithm, by a key of this id if one is named, be its own? A key without id is tried for
    /// every token.
    pub(crate) fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.key.family().algorithms().contains(&algorithm)
            && self.algorithm.is_none_or(|own| own == algorithm)
            && (id.is_none() || self.id.is_none() || self.id.as_deref() == id)
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

impl KeySet {
    /// Reads a JWK set; what cannot be used in it is left out. `None` if it is none.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(bytes).ok()?;
        let keys = set.get("keys")?.as_array()?;
        Some(Self(keys.iter().take(MOST).filter_map(Key::from_jwk).collect()))
    }

    /// Is there a key of this id, or none needed?
    pub fn knows(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.0.iter().any(|key| key.id.as_deref().is_none_or(|own| own == id)))
    }

    /// All keys.
    pub fn iter(&self) -> std::slice::Iter<'_, Key> {
        self.0.iter()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Key>> for KeySet {
    fn from(keys: Vec<Key>) -> Self {
        Self(keys)
    }
}

impl<'k> IntoIterator for &'k KeySet {
    type Item = &'k Key;
    type IntoIter = std::slice::Iter<'k, Key>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use rcgen::KeyPair;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_set_keeps_what_can_be_used() {
        let pair = KeyPair::generate().unwrap();
        let signer = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let mut good = serde_json::to_value(Jwk::from_encoding_key(&signer, Algorithm::ES256).unwrap()).unwrap();
        good["kid"] = json!("a");
        let mut encryption = good.clone();
        encryption["use"] = json!("enc");
        let mut odd = good.clone();
        odd["alg"] = json!("RSA-OAEP");
        let keys = json!({"keys": [
            good, encryption, odd, {"kty": "oct", "k": "c2VjcmV0", "kid": "s"},
            {"kty": "EC", "crv": "P-999", "x": "", "y": ""}, {"kty": "RSA"}, 7,
        ]});
        let set = KeySet::from_json(keys.to_string().as_bytes()).unwrap();
        assert_eq!(set.iter().count(), 1);
        assert!(set.knows(Some("a")) && set.knows(None) && !set.knows(Some("s")));
        let key = set.iter().next().unwrap();
        assert!(key.fits(Algorithm::ES256, Some("a")) && !key.fits(Algorithm::RS256, Some("a")));
        assert!(KeySet::from_json(b"{}").is_none() && KeySet::from_json(b"x").is_none());
    }
}
