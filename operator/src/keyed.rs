//! Keyed hashes of inputs, to see that nothing changed without keeping what was there. The key lives in a Secret of the
//! operator, so the hash in a status tells nobody whether a guessed password is right.

use hmac::{Hmac, KeyInit, Mac};
use holdfast_secret::SecretBytes;
use sha2::Sha256;

/// The key of all hashes.
pub struct HashKey(SecretBytes);

impl HashKey {
    /// Takes the key over.
    pub fn new(key: SecretBytes) -> Self {
        Self(key)
    }

    /// 32 hexadecimal characters over the parts, each with its length, so that no two lists of parts look alike.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    pub fn hash(&self, parts: &[&[u8]]) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.expose()).expect("any key length");
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        hex::encode(&mac.finalize().into_bytes()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other_and_the_key_counts() {
        let key = HashKey::new(SecretBytes::new([1u8; 32]));
        assert_ne!(key.hash(&[b"ab", b"c"]), key.hash(&[b"a", b"bc"]));
        assert_eq!(key.hash(&[b"ab"]), key.hash(&[b"ab"]));
        assert_ne!(key.hash(&[b"ab"]), HashKey::new(SecretBytes::new([2u8; 32])).hash(&[b"ab"]));
        assert_eq!(key.hash(&[]).len(), 32);
    }
}
