//! People who get a share or a token encrypted to their PGP key (RFC 9580), so that nobody else ever sees it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_base::Entropy;
use holdfast_secret::SecretBytes;
use pgp::composed::{Deserializable, MessageBuilder, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::KeyDetails;
use rand_core::{CryptoRng, RngCore};

use crate::Error;

/// Longest key that is read, in bytes of its base64 text: a certificate with photographs is not needed here.
const LONGEST: usize = 256 << 10;

/// The holder of a PGP key.
pub struct Recipient {
    key: SignedPublicKey,
}

impl Recipient {
    /// From a public key as Vault takes it: base64 of the key, binary or armoured.
    pub fn read(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(Error::BadRecipient("the PGP key is too large".to_owned()));
        }
        let text: String = text.split_ascii_whitespace().collect();
        let bytes =
            STANDARD.decode(text).map_err(|_| Error::BadRecipient("a PGP key must be given in base64".to_owned()))?;
        let (key, _) = SignedPublicKey::from_reader_single(&bytes[..])
            .map_err(|error| Error::BadRecipient(format!("this is not a public PGP key: {error}")))?;
        key.verify_bindings()
            .map_err(|error| Error::BadRecipient(format!("the PGP key is not signed by itself: {error}")))?;
        Ok(Self { key })
    }

    /// The fingerprint of the primary key, in lower-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.key.fingerprint().as_bytes())
    }

    /// A PGP message that only the holder of the key reads (not armoured).
    pub fn encrypt(&self, plain: &SecretBytes, entropy: &dyn Entropy) -> Result<Vec<u8>, Error> {
        let mut random = Random(entropy);
        let message = MessageBuilder::from_bytes("", plain.expose().to_vec());
        let mut message = message.seipd_v1(&mut random, SymmetricKeyAlgorithm::AES256);
        let encrypted = match self.encryption_subkey() {
            Some(subkey) => message.encrypt_to_key(&mut random, &subkey.key),
            None => message.encrypt_to_key(&mut random, &self.key.primary_key),
        };
        let failed = |error: pgp::errors::Error| Error::BadRecipient(format!("the PGP key cannot encrypt: {error}"));
        encrypted.map_err(failed)?;
        message.to_vec(&mut random).map_err(failed)
    }

    /// The newest subkey that says it is for encryption.
    fn encryption_subkey(&self) -> Option<&SignedPublicSubKey> {
        let encrypts = |subkey: &&SignedPublicSubKey| {
            subkey.signatures.iter().any(|signature| {
                let flags = signature.key_flags();
                flags.encrypt_comms() || flags.encrypt_storage()
            })
        };
        self.key.public_subkeys.iter().filter(encrypts).max_by_key(|subkey| subkey.key.created_at())
    }
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recipient").field(&self.fingerprint()).finish()
    }
}

/// Our source of random bytes in the form that the library wants.
struct Random<'e>(&'e dyn Entropy);

impl RngCore for Random<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(buffer);
        Ok(())
    }
}

impl CryptoRng for Random<'_> {}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;
    use pgp::composed::{
        EncryptionCaps, KeyType, Message, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
    };
    use pgp::ser::Serialize;
    use pgp::types::Password;

    use super::*;

    fn holder() -> SignedSecretKey {
        let entropy = SeededEntropy::new(7);
        let subkey =
            SubkeyParamsBuilder::default().key_type(KeyType::X25519).can_encrypt(EncryptionCaps::All).build().unwrap();
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519)
            .can_sign(true)
            .primary_user_id("Alice <alice@example.org>".to_owned())
            .subkey(subkey)
            .build()
            .unwrap();
        key.generate(Random(&entropy)).unwrap()
    }

    #[test]
    fn the_holder_of_the_key_reads_what_was_encrypted() {
        let secret = holder();
        let public = STANDARD.encode(secret.to_public_key().to_bytes().unwrap());
        let recipient = Recipient::read(&public).unwrap();
        let entropy = SeededEntropy::new(8);
        let message = recipient.encrypt(&SecretBytes::new(b"a share".to_vec()), &entropy).unwrap();
        assert!(!message.windows(7).any(|window| window == b"a share"));
        let opened = Message::from_bytes(&message[..]).unwrap().decrypt(&Password::empty(), &secret).unwrap();
        assert_eq!(opened.decompress().unwrap().as_data_vec().unwrap(), b"a share");
        assert_eq!(recipient.fingerprint().len(), 40);
    }

    #[test]
    fn an_armoured_key_in_base64_is_taken_too() {
        let armoured = holder().to_public_key().to_armored_string(pgp::composed::ArmorOptions::default()).unwrap();
        assert!(Recipient::read(&STANDARD.encode(armoured)).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "%%%", &STANDARD.encode("no key")] {
            assert!(matches!(Recipient::read(text), Err(Error::BadRecipient(_))), "{text}");
        }
    }

    /// RSA, made by GnuPG, as Vault's own clients send it.
    #[test]
    fn a_key_of_gnupg_is_taken() {
        let key = include_str!("../fixtures/rsa.pub.b64");
        let recipient = Recipient::read(key).unwrap();
        assert!(!recipient.encrypt(&SecretBytes::new(b"x".to_vec()), &SeededEntropy::new(1)).unwrap().is_empty());
    }
}
