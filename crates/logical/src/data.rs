//! The `data` of a response.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

/// A JSON object, either as a map or as text that is passed through untouched (which keeps numbers exact and saves a
/// parse on the read path).
#[derive(Clone)]
pub enum Data {
    /// A decoded object.
    Map(Map<String, Value>),
    /// The text of an object.
    Raw(Box<RawValue>),
}

impl Data {
    /// The object as a map: parsed if it is text.
    pub fn to_map(&self) -> Map<String, Value> {
        match self {
            Self::Map(map) => map.clone(),
            Self::Raw(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
        }
    }

    /// Takes the object as a map: parsed if it is text.
    pub fn into_map(self) -> Map<String, Value> {
        match self {
            Self::Map(map) => map,
            Self::Raw(raw) => serde_json::from_str(raw.get()).unwrap_or_default(),
        }
    }
}

impl From<Value> for Data {
    /// Takes an object; anything else becomes an empty object.
    fn from(value: Value) -> Self {
        match value {
            Value::Object(map) => Self::Map(map),
            _ => Self::Map(Map::new()),
        }
    }
}

impl From<Map<String, Value>> for Data {
    fn from(map: Map<String, Value>) -> Self {
        Self::Map(map)
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Map(map) => map.serialize(serializer),
            Self::Raw(raw) => raw.serialize(serializer),
        }
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}
