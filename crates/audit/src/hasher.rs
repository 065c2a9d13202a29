//! Keyed hashing: the same text gives the same hash on one device, and nothing else can be read from it.

use hmac::{Hmac, KeyInit, Mac};
use holdfast_secret::SecretBytes;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::Sha256;

/// Hashes with the key of one device.
pub struct Hasher {
    mac: Hmac<Sha256>,
    options: Options,
}

/// What a device lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Vault's `hmac_accessor`.
    pub hash_accessors: bool,
    /// Lists with more members than this are shown as their number: 0 is Vault's `elide_list_responses`.
    pub elide_above: usize,
    /// Vault's `log_raw`: everything in clear, on this device only.
    pub raw: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { hash_accessors: true, elide_above: usize::MAX, raw: false }
    }
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
    /// With the key of a device (32 bytes).
    pub fn new(key: &SecretBytes, options: Options) -> Option<Self> {
        let mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
        Some(Self { mac, options })
    }

    /// `hmac-sha256:` and 64 hexadecimal digits, as `sys/audit-hash` answers.
    pub fn hash(&self, text: &str) -> String {
        self.hash_bytes(text.as_bytes())
    }

    fn hash_bytes(&self, bytes: &[u8]) -> String {
        let mut mac = self.mac.clone();
        mac.update(bytes);
        format!("hmac-sha256:{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Hashes; empty text stays empty, so that an absent token does not look like one.
    pub(crate) fn text(&self, text: &str) -> Hashed {
        Hashed(if text.is_empty() { String::new() } else { self.shown(text) })
    }

    /// Text that is in clear because somebody configured it so.
    pub(crate) fn clear(&self, text: &str) -> Hashed {
        Hashed(text.to_owned())
    }

    /// Bytes that need not be text.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Hashed {
        Hashed(if self.options.raw { String::from_utf8_lossy(bytes).into_owned() } else { self.hash_bytes(bytes) })
    }

    fn shown(&self, text: &str) -> String {
        if self.options.raw { text.to_owned() } else { self.hash(text) }
    }

    pub(crate) fn accessor(&self, text: &str) -> Hashed {
        if self.options.hash_accessors { self.text(text) } else { Hashed(text.to_owned()) }
    }

    /// Hashes every string at any depth but those whose nearest key is among `clear`. Keys, numbers, truth values and
    /// null stay.
    pub(crate) fn data(&self, data: &Map<String, Value>, clear: &[String]) -> HashedData {
        HashedData(Value::Object(self.map(data, clear)))
    }

    /// The same for the answer of a list operation, whose keys may be shown as their number.
    pub(crate) fn listed(&self, data: &Map<String, Value>, clear: &[String]) -> HashedData {
        let mut hashed = self.map(data, clear);
        for key in ["keys", "key_info"] {
            let count = match data.get(key) {
                Some(Value::Array(list)) => list.len(),
                Some(Value::Object(map)) => map.len(),
                _ => continue,
            };
            if count > self.options.elide_above || self.options.elide_above == 0 {
                hashed.insert(key.to_owned(), Value::from(count));
            }
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
            Value::String(text) if !in_clear => Value::String(self.shown(text)),
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
        let hasher = Hasher::new(&SecretBytes::new(vec![7; 32]), Options::default()).unwrap();
        let data = json!({"a": "x", "n": 1, "deep": {"b": ["x", true]}, "open": {"y": "z"}, "clear": ["seen"]});
        let hashed = hasher.data(data.as_object().unwrap(), &["clear".to_owned()]).0;
        let x = hasher.hash("x");
        assert!(x.starts_with("hmac-sha256:") && x.len() == 76);
        let y = hasher.hash("z");
        assert_eq!(hashed, json!({"a": x, "n": 1, "deep": {"b": [x, true]}, "open": {"y": y}, "clear": ["seen"]}));
        let other = Hasher::new(&SecretBytes::new(vec![8; 32]), Options::default()).unwrap();
        assert_ne!(other.hash("x"), x);
    }

    #[test]
    fn known_answer_of_rfc_4231() {
        let hasher = Hasher::new(&SecretBytes::new(b"Jefe".to_vec()), Options::default()).unwrap();
        let expected = "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hasher.hash("what do ya want for nothing?"), expected);
    }

    #[test]
    fn lists_as_counts() {
        let hasher = |elide_above| {
            Hasher::new(&SecretBytes::new(vec![7; 32]), Options { elide_above, ..Options::default() }).unwrap()
        };
        let data = json!({"keys": ["a", "b"]});
        assert_eq!(hasher(0).listed(data.as_object().unwrap(), &[]).0, json!({"keys": 2}));
        assert_eq!(hasher(1).listed(data.as_object().unwrap(), &[]).0, json!({"keys": 2}));
        assert!(hasher(2).listed(data.as_object().unwrap(), &[]).0["keys"].is_array());
    }
}
