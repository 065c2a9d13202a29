//! XAES-256-GCM (C2SP): AES-256-GCM under a key derived per message from a 192-bit random nonce, so that one key may
//! encrypt without counting.
//!
//! Two AES blocks make the message key; the bulk is done by aws-lc-rs. Checked against the C2SP vectors and against an
//! independent implementation in the tests.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
pub const KEY: usize = 32;
/// Bytes of a nonce, which must be random.
pub const NONCE: usize = 24;
/// Bytes of the tag at the end of a ciphertext.
pub const TAG: usize = 16;

/// The key is wrong, or key, nonce, associated data or ciphertext are not those of the encryption.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("does not decrypt")]
pub struct Mismatch;

/// A key, ready for use. Zeroed when dropped.
pub struct Xaes {
    aes: Aes256,
    k1: [u8; 16],
}

impl Xaes {
    /// Prepares a key.
    pub fn new(key: &[u8; KEY]) -> Self {
        let aes = Aes256::new(key.into());
        let mut block = aes::Block::default();
        aes.encrypt_block(&mut block);
        // The CMAC subkey K1: the encrypted zero block doubled in GF(2^128).
        let doubled = u128::from_be_bytes(block.into()) << 1;
        let carry = u128::from(block[0] >> 7) * 0x87;
        Self { aes, k1: (doubled ^ carry).to_be_bytes() }
    }

    /// Ciphertext followed by the tag.
    pub fn seal(&self, nonce: &[u8; NONCE], aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let (key, rest) = self.message_key(nonce)?;
        let mut buffer = Vec::with_capacity(plain.len() + TAG);
        buffer.extend_from_slice(plain);
        match key.seal_in_place_append_tag(rest, Aad::from(aad), &mut buffer) {
            Ok(()) => Ok(buffer),
            Err(_) => {
                buffer.zeroize();
                Err(Mismatch)
            }
        }
    }

    /// The plain bytes of a ciphertext followed by its tag.
    pub fn open(&self, nonce: &[u8; NONCE], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Mismatch> {
        let (key, rest) = self.message_key(nonce)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let plain = key.open_in_place(rest, Aad::from(aad), &mut buffer).map_err(|_| Mismatch)?.len();
        buffer.truncate(plain);
        Ok(buffer)
    }

    fn message_key(&self, nonce: &[u8; NONCE]) -> Result<(LessSafeKey, Nonce), Mismatch> {
        let mut key = Zeroizing::new([0u8; KEY]);
        for (half, number) in [(0, 1u8), (16, 2u8)] {
            let mut block = aes::Block::default();
            block[..4].copy_from_slice(&[0, number, b'X', 0]);
            block[4..].copy_from_slice(&nonce[..12]);
            block.iter_mut().zip(self.k1).for_each(|(byte, k1)| *byte ^= k1);
            self.aes.encrypt_block(&mut block);
            key[half..half + 16].copy_from_slice(&block);
            block.zeroize();
        }
        let unbound = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| Mismatch)?;
        let rest = Nonce::try_assume_unique_for_key(&nonce[12..]).map_err(|_| Mismatch)?;
        Ok((LessSafeKey::new(unbound), rest))
    }
}

impl Drop for Xaes {
    fn drop(&mut self) {
        // `Aes256` zeroes itself (feature `zeroize`).
        self.k1.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xaes_256_gcm::aead::{Aead, KeyInit as _, Payload};

    use super::*;

    /// The two vectors of the C2SP specification, one per value of the bit that decides about the carry.
    #[test]
    fn gives_the_vectors_of_the_specification() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let sealed = Xaes::new(&[1; 32]).seal(nonce, b"", b"XAES-256-GCM").unwrap();
        assert_eq!(hex(&sealed), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        let sealed = Xaes::new(&[3; 32]).seal(nonce, b"c2sp.org/XAES-256-GCM", b"XAES-256-GCM").unwrap();
        assert_eq!(hex(&sealed), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }

    proptest! {
        #[test]
        fn equals_the_other_implementation(
            key: [u8; 32], nonce: [u8; 24], aad: Vec<u8>, plain in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let other = xaes_256_gcm::Xaes256Gcm::new((&key).into());
            let expected = other.encrypt((&nonce).into(), Payload { msg: &plain, aad: &aad }).unwrap();
            let mine = Xaes::new(&key);
            prop_assert_eq!(&mine.seal(&nonce, &aad, &plain).unwrap(), &expected);
            let opened = mine.open(&nonce, &aad, &expected).unwrap();
            prop_assert_eq!(opened.as_slice(), &plain[..]);
        }

        #[test]
        fn a_flipped_bit_does_not_decrypt(bit in 0usize..(8 * 40)) {
            let key = Xaes::new(&[9; 32]);
            let mut sealed = key.seal(&[2; 24], b"place", &[5; 24]).unwrap();
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(key.open(&[2; 24], b"place", &sealed), Err(Mismatch));
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
