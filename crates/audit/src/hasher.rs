//! Keyed hashing: the same text gives the same hash on one device, and nothing else can be read from it.

use hmac::{Hmac, KeyInit, Mac};
use holdfast_secret::SecretBytes;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::Sha256;

/// Hashes with the key of one device.
pub struct Hasher {
    mac: Hmac<Sha256>,
    hash_accessors: bool,
    elide_lists: bool,
}

/// Text that has gone through a [`Hasher`], or that the hasher lets through. Nothing else makes one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Hashed(String);

/// JSON whose strings have gone through a [`Hasher`].
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct HashedData(Value);

impl Hasher {
    /// With the key of a device (32 bytes). `hash_accessors` is Vault's `hmac_accessor`; `elide_lists` shows `keys` and
    /// `key_info` of list answers as counts.
    pub fn new(key: &SecretBytes, hash_accessors: bool, elide_lists: bool) -> Option<Self> {
        let mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
        Some(Self { mac, hash_accessors, elide_lists })
    }

    /// `hmac-sha256:` and 64 hexadecimal digits, as `sys/audit-hash` answers.
    pub fn hash(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        format!("hmac-sha256:{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Hashes; empty text stays empty, so that an absent token does not look like one.
    pub(crate) fn text(&self, text: &str) -> Hashed {
        Hashed(if text.is_empty() { String::new() } else { self.hash(text) })
    }

    pub(crate) fn accessor(&self, text: &str) -> Hashed {
        if self.hash_accessors { self.text(text) } else { Hashed(text.to_owned()) }
    }

    /// Hashes every string at any depth but those whose nearest key is among `clear`. Keys, numbers, truth values and
    /// null stay.
    pub(crate) fn data(&self, data: &Map<String, Value>, clear: &[String]) -> HashedData {
        HashedData(Value::Object(self.map(data, clear)))
    }

    /// The same for the answer of a list operation, whose keys may be shown as their number.
    pub(crate) fn listed(&self, data: &Map<String, Value>, clear: &[String]) -> HashedData {
        let mut hashed = self.map(data, clear);
        for key in ["keys", "key_info"].iter().filter(|_| self.elide_lists) {
            let count = match data.get(*key) {
                Some(Value::Array(list)) => list.len(),
                Some(Value::Object(map)) => map.len(),
                _ => continue,
            };
            hashed.insert((*key).to_owned(), Value::from(count));
        }
        HashedData(Value::Object(hashed))
    }

    fn map(&self, data: &Map<String, Value>, clear: &[String]) -> Map<String, Value> {
        let member = |(key, value): (&String, &Value)| {
            (key.clone(), self.value(value, clear.iter().any(|name| name == key), clear))
        };
        data.iter().map(member).collect()
    }

    fn value(&self, value: &Value, in_clear: bool, clear: &[String]) -> Value {
        match value {
            Value::String(text) if !in_clear => Value::String(self.hash(text)),
            Value::Array(list) => Value::Array(list.iter().map(|value| self.value(value, in_clear, clear)).collect()),
            Value::Object(map) => Value::Object(self.map(map, clear)),
            other => other.clone(),
        }
    }
}

impl Hashed {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_hashed_and_the_rest_stays() {
        let hasher = Hasher::new(&SecretBytes::new(vec![7; 32]), true, false).unwrap();
        let data = json!({"a": "x", "n": 1, "deep": {"b": ["x", true]}, "open": {"y": "z"}, "clear": ["seen"]});
        let hashed = hasher.data(data.as_object().unwrap(), &["clear".to_owned()]).0;
        let x = hasher.hash("x");
        assert!(x.starts_with("hmac-sha256:") && x.len() == 76);
        let y = hasher.hash("z");
        assert_eq!(hashed, json!({"a": x, "n": 1, "deep": {"b": [x, true]}, "open": {"y": y}, "clear": ["seen"]}));
        let other = Hasher::new(&SecretBytes::new(vec![8; 32]), true, false).unwrap();
        assert_ne!(other.hash("x"), x);
    }

    #[test]
    fn known_answer_of_rfc_4231() {
        let hasher = Hasher::new(&SecretBytes::new(b"Jefe".to_vec()), true, false).unwrap();
        let expected = "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hasher.hash("what do ya want for nothing?"), expected);
    }

    #[test]
    fn lists_as_counts() {
        let hasher = Hasher::new(&SecretBytes::new(vec![7; 32]), true, true).unwrap();
        let data = json!({"keys": ["a", "b"]});
        assert_eq!(hasher.listed(data.as_object().unwrap(), &[]).0, json!({"keys": 2}));
    }
}
