//! Token ids: `hvs.` and 24 characters for root tokens, `hvs.` and 88 characters with a MAC for all others; those of other
//! namespaces than the root one end in `.<namespace id>`, which the MAC covers.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use holdfast_base::{Entropy, id};
use holdfast_secret::{SecretBytes, SecretString, same};
use sha2::Sha256;

use super::batch;

const PREFIX: &str = "hvs.";
const VERSION: u8 = 1;
const RANDOM: usize = 33;
const MAC: usize = 32;
const TEXT: usize = 88;
/// Characters of a root token after the prefix.
const ROOT_TEXT: usize = 24;
/// Characters of an accessor before the suffix.
const ACCESSOR_TEXT: usize = 24;

/// The keys that ids are made and hashed with. They survive rotation.
pub struct IdKeys {
    mac: SecretBytes,
    hash: SecretBytes,
}

impl IdKeys {
    /// From keys of 32 bytes.
    pub fn new(mac: SecretBytes, hash: SecretBytes) -> Self {
        Self { mac, hash }
    }

    /// A new id for a token that is not root. `suffix` is what ids of the namespace end in.
    pub fn fresh(&self, entropy: &dyn Entropy, suffix: &str) -> SecretString {
        let mut bytes = vec![VERSION; 1 + RANDOM];
        entropy.fill(&mut bytes[1..]);
        let mac = self.mac_of(&bytes, suffix);
        bytes.extend_from_slice(&mac);
        SecretString::new(format!("{PREFIX}{}{suffix}", URL_SAFE_NO_PAD.encode(SecretBytes::new(bytes).expose())))
    }

    fn mac_of(&self, body: &[u8], suffix: &str) -> [u8; MAC] {
        hmac(&self.mac, &[body, suffix.as_bytes()].concat())
    }

    /// Can this be the id of a token? Those with a MAC must have the right one; others may be root tokens or ids that
    /// their creator chose, and only the store knows.
    pub fn plausible(&self, id: &str) -> bool {
        let (own, suffix) = id.split_at(id.len() - suffix_of(id).len());
        match own.strip_prefix(PREFIX) {
            Some(text) if text.len() == TEXT => self.verified(text, suffix),
            _ => !id.is_empty(),
        }
    }

    fn verified(&self, text: &str, suffix: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return false };
        let Some((body, mac)) = bytes.split_at_checked(1 + RANDOM) else { return false };
        same(self.mac_of(body, suffix), mac)
    }

    /// What the store knows the id by, and its accessor: 24 characters that follow from the id by a MAC (more than 142 bits), and the suffix
    /// of its namespace.
    pub fn hash(&self, id: &str) -> String {
        id::base62_of(&hmac(&self.hash, id.as_bytes())[..ACCESSOR_TEXT]) + suffix_of(id)
    }
}

/// A new id for a root token: 28 characters, as `generate-root` and its clients expect, and the suffix.
pub fn fresh_root(entropy: &dyn Entropy, suffix: &str) -> SecretString {
    SecretString::new(format!("{PREFIX}{}{suffix}", id::base62(entropy, ROOT_TEXT)))
}

/// Has it the form of an id that a server made in the root namespace? Tells without keys; ids that their creator chose have
/// none.
pub(crate) fn is_formed(id: &SecretString) -> bool {
    let id = id.expose();
    let within = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match (id.strip_prefix(PREFIX), id.strip_prefix(batch::PREFIX)) {
        (Some(text), _) => matches!(text.len(), ROOT_TEXT | TEXT) && within(text),
        (_, Some(text)) => (TEXT..=batch::LONGEST).contains(&text.len()) && within(text),
        _ => false,
    }
}

/// What a token id or an accessor ends in: `.<namespace id>`, or nothing where it is of the root namespace.
pub fn suffix_of(id: &str) -> &str {
    let prefix = if id.starts_with(PREFIX) || id.starts_with(batch::PREFIX) { PREFIX.len() } else { 0 };
    id[prefix..].rfind('.').map_or("", |at| &id[prefix + at..])
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
pub(crate) fn hmac(key: &SecretBytes, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    #[test]
    fn an_invented_id_is_refused_and_a_made_one_is_not() {
        let keys = IdKeys::new(SecretBytes::new([1; 32]), SecretBytes::new([2; 32]));
        let entropy = SeededEntropy::new(1);
        let id = keys.fresh(&entropy, "");
        assert_eq!(id.expose().len(), PREFIX.len() + TEXT);
        assert!(keys.plausible(id.expose()));
        let mut invented = id.expose().to_owned();
        let last = if invented.pop() == Some('A') { 'Q' } else { 'A' };
        invented.push(last);
        assert!(!keys.plausible(&invented));
        assert!(keys.plausible(fresh_root(&entropy, "").expose()));
        assert!(is_formed(&id) && is_formed(&fresh_root(&entropy, "")));
        for junk in [
            "",
            "x",
            "root",
            "hvs.nonsense",
            "hvb.",
            "hvs.24 characters with spaces",
            "hvs.abcdefghijklmnopqrstuvwx.n1",
        ] {
            assert!(!is_formed(&SecretString::new(junk)), "{junk}");
        }
        assert_eq!(fresh_root(&entropy, "").expose().len(), 28);
    }

    #[test]
    fn the_namespace_is_part_of_the_id_and_of_its_mac() {
        let keys = IdKeys::new(SecretBytes::new([1; 32]), SecretBytes::new([2; 32]));
        let (root, inner) = (keys.fresh(&SeededEntropy::new(1), ""), keys.fresh(&SeededEntropy::new(1), ".abc123"));
        let (root, inner) = (root.expose(), inner.expose());
        assert_eq!((suffix_of(root), suffix_of(inner), suffix_of("mine.abc123")), ("", ".abc123", ".abc123"));
        assert!(keys.plausible(root) && keys.plausible(inner));
        let moved = inner.replace(".abc123", ".abc124");
        assert!(!keys.plausible(&moved) && !keys.plausible(&inner.replace(".abc123", "")));
        assert!(!keys.plausible(&format!("{root}.abc123")));
    }
}
