//! One token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use crate::{Key, strict};

/// Largest token that is looked at, in bytes.
const LARGEST: usize = 64 << 10;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not three parts of base64url with JSON objects in which nothing is said twice.
    #[error("it is not a JWT")]
    Malformed,
    /// `none`, symmetric, or not known.
    #[error("it is not signed with a public key algorithm that is supported")]
    Algorithm,
    /// The header has `crit`.
    #[error("it has critical extensions that are not supported")]
    Critical,
    /// No key fits its algorithm and key id.
    #[error("it is signed with a key that is not known")]
    UnknownKey,
    /// A key fits, the signature does not.
    #[error("its signature is wrong")]
    Signature,
}

/// A token that was read. Its claims come out with the signature checked only.
pub struct Token<'t> {
    algorithm: Algorithm,
    id: Option<String>,
    payload: &'t str,
    message: &'t str,
    signature: &'t str,
}

impl<'t> Token<'t> {
    /// Reads a token in compact form (RFC 7515 §7.1).
    pub fn read(text: &'t str) -> Result<Self, Refusal> {
        let (message, signature) = text.rsplit_once('.').filter(|_| text.len() <= LARGEST).ok_or(Refusal::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        let header = decoded(header)?;
        if header.contains_key("crit") {
            return Err(Refusal::Critical);
        }
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Refusal::Malformed),
        };
        let name = header.get("alg").and_then(Value::as_str).ok_or(Refusal::Malformed)?;
        let algorithm = algorithm(name).ok_or(Refusal::Algorithm)?;
        Ok(Self { algorithm, id, payload, message, signature })
    }

    /// What it is signed with, as the header says.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Id of the key, if the header names one.
    pub fn key_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The claims, without any check of the signature: to find what the token is meant for, nothing else.
    pub fn unverified(&self) -> Result<Map<String, Value>, Refusal> {
        decoded(self.payload)
    }

    /// The claims, if one of the keys made the signature. Of a token that names its key, only keys of that id are tried.
    pub fn verify<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Result<Map<String, Value>, Refusal> {
        let mut refusal = Refusal::UnknownKey;
        for key in keys.into_iter().filter(|key| key.fits(self.algorithm, self.key_id())) {
            match crypto::verify(self.signature, self.message.as_bytes(), key.decoding(), self.algorithm) {
                Ok(true) => return decoded(self.payload),
                _ => refusal = Refusal::Signature,
            }
        }
        Err(refusal)
    }
}

/// The algorithm of a name (RFC 7518 §3.1), if it is one with public keys.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse().ok().filter(|algorithm| !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512))
}

fn decoded(part: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    strict::object(&bytes).ok_or(Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};

    use super::*;

    fn part(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn token(header: &str, payload: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
        let message = format!("{}.{}", part(header), part(payload));
        let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn pair(algorithm: &'static SignatureAlgorithm) -> (KeyPair, Key) {
        let pair = KeyPair::generate_for(algorithm).unwrap();
        let key = Key::from_pem(&pair.public_key_pem()).unwrap();
        (pair, key)
    }

    #[test]
    fn every_public_key_algorithm_is_checked() {
        let (rsa, rsa_key) = pair(&PKCS_RSA_SHA256);
        let (ec, ec_key) = pair(&PKCS_ECDSA_P384_SHA384);
        let (ed, ed_key) = pair(&PKCS_ED25519);
        let rsa = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
        let ec = EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap();
        let ed = EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap();
        let keys = [rsa_key, ec_key, ed_key];
        for (name, signer, algorithm) in [
            ("RS256", &rsa, Algorithm::RS256),
            ("RS512", &rsa, Algorithm::RS512),
            ("PS256", &rsa, Algorithm::PS256),
            ("PS384", &rsa, Algorithm::PS384),
            ("ES384", &ec, Algorithm::ES384),
            ("EdDSA", &ed, Algorithm::EdDSA),
        ] {
            let text = token(&format!(r#"{{"alg":"{name}"}}"#), r#"{"sub":"a"}"#, signer, algorithm);
            assert_eq!(Token::read(&text).unwrap().verify(&keys).unwrap()["sub"], "a", "{name}");
            let (message, signature) = text.rsplit_once('.').unwrap();
            let (header, _) = message.split_once('.').unwrap();
            let forged = format!("{header}.{}.{signature}", part(r#"{"sub":"b"}"#));
            assert_eq!(Token::read(&forged).unwrap().verify(&keys), Err(Refusal::Signature), "{name}");
        }
    }

    #[test]
    fn the_header_cannot_choose_how_it_is_checked() {
        let (_, key) = pair(&PKCS_ED25519);
        for (header, refusal) in [
            (r#"{"alg":"none"}"#, Refusal::Algorithm),
            (r#"{"alg":"HS256"}"#, Refusal::Algorithm),
            (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, Refusal::Critical),
            (r#"{"alg":"ES256","alg":"RS256"}"#, Refusal::Malformed),
            (r#"{"alg":"ES256","kid":1}"#, Refusal::Malformed),
            (r#"{}"#, Refusal::Malformed),
        ] {
            let text = format!("{}.{}.", part(header), part("{}"));
            assert_eq!(Token::read(&text).err(), Some(refusal), "{header}");
        }
        // A key that the token brings along is no key.
        let text = format!("{}.{}.AAAA", part(r#"{"alg":"EdDSA","jku":"https://evil","kid":"x"}"#), part("{}"));
        assert_eq!(Token::read(&text).unwrap().verify([&key.with_id("y")]), Err(Refusal::UnknownKey));
        for text in ["", "a.b", "a.b.c.d", "....", "é.é.é"] {
            assert_eq!(Token::read(text).err(), Some(Refusal::Malformed), "{text}");
        }
    }

    #[test]
    fn a_key_serves_its_own_algorithm_and_id_only() {
        let (pair, _) = pair(&PKCS_ED25519);
        let signer = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
        let key = Key::from_pem(&pair.public_key_pem()).unwrap().with_id("a");
        let of = |id: &str| token(&format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#), "{}", &signer, Algorithm::EdDSA);
        assert!(Token::read(&of("a")).unwrap().verify([&key]).is_ok());
        assert_eq!(Token::read(&of("b")).unwrap().verify([&key]), Err(Refusal::UnknownKey));
    }
}
