//! What the server answered.

use holdfast_client::certificate::{good_until, not_after};
use holdfast_template::fields::certificate;
use serde_json::{Map, Value};

/// What the server answered for one origin.
pub struct Reading {
    /// The answer as templates see it: `lease_id`, `lease_duration`, `renewable`, `data`.
    envelope: Value,
}

impl Reading {
    /// Takes an answer apart.
    pub fn new(lease_id: &str, lease_duration: u64, renewable: bool, data: Map<String, Value>) -> Self {
        Self {
            envelope: serde_json::json!({
                "lease_id": lease_id, "lease_duration": lease_duration, "renewable": renewable, "data": data,
            }),
        }
    }

    /// The answer as templates see it.
    pub(super) fn envelope(&self) -> &Value {
        &self.envelope
    }

    /// The fields that people mean: of kv version 2 those of the value, not the wrapper's.
    pub(super) fn fields(&self) -> Option<&Map<String, Value>> {
        let data = self.envelope["data"].as_object()?;
        match (data.get("data"), data.get("metadata")) {
            (Some(Value::Object(inner)), Some(Value::Object(_))) => Some(inner),
            _ => Some(data),
        }
    }

    /// The whole answer, as Vault's Go client would print it.
    pub(super) fn whole(&self) -> String {
        let mut whole = self.envelope.clone();
        whole["request_id"] = Value::from("");
        whole["warnings"] = Value::Null;
        whole.to_string()
    }

    /// When the certificate that it holds ends, in seconds since 1970. What was made for the pod (`made`) says it itself.
    pub fn ends(&self, made: bool) -> Option<i64> {
        let said = || self.envelope["data"].as_object().and_then(good_until);
        let shown = || not_after(self.fields().and_then(certificate)?);
        said().filter(|_| made).or_else(shown)
    }

    /// Do two readings hold the same values? Lease ids and durations don't count.
    pub fn same_values(&self, other: &Self) -> bool {
        self.envelope["data"] == other.envelope["data"]
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reading([redacted])")
    }
}
