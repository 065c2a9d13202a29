//! Key pairs and signatures (RFC 7518), by aws-lc-rs.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
        ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, ED25519,
        EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RsaEncoding, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use holdfast_logical::Error;
use holdfast_secret::SecretBytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `alg` of RFC 7518 and RFC 8037.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    #[default]
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

/// A new key pair.
pub(super) struct Pair {
    /// PKCS #8 version 1.
    pub private: SecretBytes,
    /// RSA: RSAPublicKey (RFC 8017); EC: the point, uncompressed; Ed25519: 32 bytes.
    pub public: Vec<u8>,
}

const ALGORITHMS: [(&str, Algorithm); 7] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("ES512", Algorithm::ES512),
    ("EdDSA", Algorithm::EdDSA),
];

fn failed(_: impl std::fmt::Debug) -> Error {
    Error::Internal("a signing key cannot be made or used".to_owned())
}

impl Algorithm {
    /// All names, in the order of the documentation.
    pub fn names() -> [&'static str; 7] {
        ALGORITHMS.map(|(name, _)| name)
    }

    pub fn parse(text: &str) -> Result<Self, Error> {
        let known = ALGORITHMS.iter().find(|(name, _)| *name == text).map(|(_, algorithm)| *algorithm);
        known.ok_or_else(|| {
            Error::invalid(format!("unknown signing algorithm {text:?}: use one of {}", Self::names().join(", ")))
        })
    }

    pub fn name(self) -> &'static str {
        ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(name, _)| name)
    }

    /// A new key pair. RSA takes a tenth of a second: off the runtime.
    pub async fn generate(self) -> Result<Pair, Error> {
        tokio::task::spawn_blocking(move || self.generate_now()).await.map_err(failed)?
    }

    fn generate_now(self) -> Result<Pair, Error> {
        let rng = SystemRandom::new();
        if let Some(curve) = self.curve() {
            let document = EcdsaKeyPair::generate_pkcs8(curve, &rng).map_err(failed)?;
            let pair = EcdsaKeyPair::from_pkcs8(curve, document.as_ref()).map_err(failed)?;
            return Ok(Pair {
                private: SecretBytes::new(document.as_ref()),
                public: pair.public_key().as_ref().to_vec(),
            });
        }
        if self == Self::EdDSA {
            let document = Ed25519KeyPair::generate_pkcs8v1(&rng).map_err(failed)?;
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).map_err(failed)?;
            return Ok(Pair {
                private: SecretBytes::new(document.as_ref()),
                public: pair.public_key().as_ref().to_vec(),
            });
        }
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
        let document: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        Ok(Pair { private: SecretBytes::new(document.as_ref()), public: pair.public_key().as_ref().to_vec() })
    }

    /// The signature of a message, as JWS has it (EC: the two numbers one after the other).
    pub fn sign(self, private: &SecretBytes, message: &[u8]) -> Result<Vec<u8>, Error> {
        let rng = SystemRandom::new();
        if let Some(curve) = self.curve() {
            let pair = EcdsaKeyPair::from_pkcs8(curve, private.expose()).map_err(failed)?;
            return Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec());
        }
        if self == Self::EdDSA {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(private.expose()).map_err(failed)?;
            return Ok(pair.sign(message).as_ref().to_vec());
        }
        let padding: &'static dyn RsaEncoding = match self {
            Self::RS384 => &RSA_PKCS1_SHA384,
            Self::RS512 => &RSA_PKCS1_SHA512,
            _ => &RSA_PKCS1_SHA256,
        };
        let pair = RsaKeyPair::from_pkcs8(private.expose()).map_err(failed)?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &rng, message, &mut signature).map_err(failed)?;
        Ok(signature)
    }

    /// Was the message signed by the private half of `public`?
    pub fn verifies(self, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RS384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::RS512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::ES256 => &ECDSA_P256_SHA256_FIXED,
            Self::ES384 => &ECDSA_P384_SHA384_FIXED,
            Self::ES512 => &ECDSA_P521_SHA512_FIXED,
            Self::EdDSA => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
    }

    fn curve(self) -> Option<&'static EcdsaSigningAlgorithm> {
        match self {
            Self::ES256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::ES384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::ES512 => Some(&ECDSA_P521_SHA512_FIXED_SIGNING),
            _ => None,
        }
    }

    /// The public half as a JWK (RFC 7517).
    pub fn jwk(self, kid: &str, public: &[u8]) -> Option<Value> {
        let mut jwk = match self {
            Self::RS256 | Self::RS384 | Self::RS512 => {
                let (modulus, exponent) = rsa_numbers(public)?;
                json!({ "kty": "RSA", "n": BASE64.encode(modulus), "e": BASE64.encode(exponent) })
            }
            Self::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(public) }),
            Self::ES256 | Self::ES384 | Self::ES512 => {
                let point = public.strip_prefix(&[4])?;
                let (x, y) = point.split_at_checked(point.len() / 2)?;
                let curve = match self {
                    Self::ES256 => "P-256",
                    Self::ES384 => "P-384",
                    _ => "P-521",
                };
                json!({ "kty": "EC", "crv": curve, "x": BASE64.encode(x), "y": BASE64.encode(y) })
            }
        };
        let more = jwk.as_object_mut()?;
        more.insert("use".to_owned(), json!("sig"));
        more.insert("kid".to_owned(), json!(kid));
        more.insert("alg".to_owned(), json!(self.name()));
        Some(jwk)
    }
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017, appendix A.1.1), without leading zeros.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = der_value(der, 0x30)?;
    let (modulus, rest) = der_value(sequence, 0x02)?;
    let (exponent, _) = der_value(rest, 0x02)?;
    let unsigned = |number: &'_ [u8]| number.iter().position(|byte| *byte != 0).unwrap_or(0);
    Some((&modulus[unsigned(modulus)..], &exponent[unsigned(exponent)..]))
}

/// The content of a DER value with this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_algorithm_signs_what_it_verifies_and_nothing_else() {
        for (name, algorithm) in ALGORITHMS {
            let pair = algorithm.generate().await.unwrap();
            let signature = algorithm.sign(&pair.private, b"message").unwrap();
            assert!(algorithm.verifies(&pair.public, b"message", &signature), "{name}");
            assert!(!algorithm.verifies(&pair.public, b"massage", &signature), "{name}");
            let jwk = algorithm.jwk("k1", &pair.public).unwrap();
            assert_eq!((&jwk["kid"], &jwk["alg"]), (&json!("k1"), &json!(name)));
        }
    }

    #[test]
    fn der_that_is_cut_off_is_no_key() {
        assert_eq!(rsa_numbers(&[0x30, 0x08, 0x02, 0x02, 0x00, 0xff, 0x02, 0x01, 0x03]), None);
        assert_eq!(rsa_numbers(&[0x30, 0x07, 0x02, 0x02, 0x00, 0xff, 0x02, 0x01, 0x03]), Some((&[0xff][..], &[3][..])));
    }
}
