//! Values while a template runs. Text is zeroed when dropped.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::{Map as JsonMap, Value as Json};
use zeroize::Zeroizing;

pub(crate) type Map = BTreeMap<String, Value>;

#[derive(Clone)]
pub(crate) enum Value {
    /// The key is not there.
    Missing,
    Nil,
    Bool(bool),
    Int(i64),
    /// With its own spelling, if it came from JSON.
    Float(f64, Option<Rc<str>>),
    Text(Rc<Zeroizing<String>>),
    List(Rc<Vec<Value>>),
    Map(Rc<Map>),
    /// An answer of the server: its fields are fixed.
    Secret(Rc<Map>),
    /// The scratchpad of the pass: `scratch.Set` and so on are its methods.
    Scratch,
}

/// Names of Go's fields and of the API's.
const SECRET: [(&str, &str); 6] = [
    ("RequestID", "request_id"),
    ("LeaseID", "lease_id"),
    ("LeaseDuration", "lease_duration"),
    ("Renewable", "renewable"),
    ("Data", "data"),
    ("Warnings", "warnings"),
];
const AUTH: [(&str, &str); 7] = [
    ("ClientToken", "client_token"),
    ("Accessor", "accessor"),
    ("Policies", "policies"),
    ("Metadata", "metadata"),
    ("LeaseDuration", "lease_duration"),
    ("Renewable", "renewable"),
    ("EntityID", "entity_id"),
];
const WRAP_INFO: [(&str, &str); 4] =
    [("Token", "token"), ("TTL", "ttl"), ("CreationTime", "creation_time"), ("WrappedAccessor", "wrapped_accessor")];
const CERTIFICATE: [(&str, &str); 4] =
    [("Cert", "certificate"), ("Key", "private_key"), ("CA", "issuing_ca"), ("CAChain", "ca_chain")];

fn renamed(json: &Json, names: &[(&str, &str)]) -> Map {
    let field = |name: &str| Value::from_json(json.get(name).unwrap_or(&Json::Null));
    names.iter().map(|(go, json)| ((*go).to_owned(), field(json))).collect()
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Rc::new(Zeroizing::new(text.into())))
    }

    pub(crate) fn list(items: impl IntoIterator<Item = Value>) -> Self {
        Self::List(Rc::new(items.into_iter().collect()))
    }

    pub(crate) fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self::Map(Rc::new(entries.into_iter().collect()))
    }

    pub(crate) fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN), Some(number.to_string().into())),
            },
            Json::String(text) => Self::text(text.as_str()),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json)),
            Json::Object(map) => {
                Self::Map(Rc::new(map.iter().map(|(key, value)| (key.clone(), Self::from_json(value))).collect()))
            }
        }
    }

    /// The envelope of the server with the names of consul-template's `Secret`.
    pub(crate) fn secret(envelope: &Json) -> Self {
        let mut fields = renamed(envelope, &SECRET);
        for (go, json, names) in [("Auth", "auth", &AUTH[..]), ("WrapInfo", "wrap_info", &WRAP_INFO[..])] {
            let inner = envelope.get(json).filter(|inner| inner.is_object());
            let inner = inner.map_or(Self::Nil, |inner| Self::Secret(Rc::new(renamed(inner, names))));
            fields.insert(go.to_owned(), inner);
        }
        Self::Secret(Rc::new(fields))
    }

    /// A certificate as `pkiCert` shows it: PEM texts.
    pub(crate) fn certificate(data: &Json) -> Self {
        let mut fields = renamed(data, &CERTIFICATE);
        for name in ["Cert", "Key", "CA"] {
            if let Some(Self::Nil) = fields.get(name) {
                fields.insert(name.to_owned(), Self::text(""));
            }
        }
        // A wrapper as `secret` has it: `.Data.Cert` is `.Cert`.
        fields.insert("Data".to_owned(), Self::Secret(Rc::new(fields.clone())));
        Self::Secret(Rc::new(fields))
    }

    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Missing | Self::Nil | Self::Scratch => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Float(value, spelling) => {
                let spelled = spelling.as_ref().and_then(|text| serde_json::from_str(text).ok());
                spelled.unwrap_or_else(|| match *value {
                    #[expect(clippy::cast_possible_truncation, reason = "whole and small enough, checked here")]
                    whole if whole.fract() == 0.0 && whole.abs() < 1e15 => Json::from(whole as i64),
                    other => Json::from(other),
                })
            }
            Self::Text(text) => Json::String(text.as_str().to_owned()),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) | Self::Secret(map) => {
                Json::Object(map.iter().map(|(key, value)| (key.clone(), value.to_json())).collect::<JsonMap<_, _>>())
            }
        }
    }

    /// Go's truth: not the zero value and not empty.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value, _) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Secret(_) | Self::Scratch => true,
        }
    }

    /// About as many bytes as it takes, with all that is in it.
    pub(crate) fn weight(&self) -> usize {
        const CELL: usize = 64;
        match self {
            Self::Text(text) => CELL + text.len(),
            Self::List(items) => items.iter().fold(CELL, |sum, item| sum.saturating_add(item.weight())),
            Self::Map(map) | Self::Secret(map) => {
                map.iter().fold(CELL, |sum, (key, item)| sum.saturating_add(key.len() + item.weight()))
            }
            Self::Missing | Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(..) | Self::Scratch => CELL,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(..) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Secret(_) => "secret",
            Self::Scratch => "scratch",
        }
    }

    /// `.name` of this value. `strict` fails on a key that is not there.
    pub(crate) fn field(&self, name: &str, strict: bool) -> Result<Self, String> {
        match self {
            Self::Map(map) => match map.get(name) {
                Some(value) => Ok(value.clone()),
                None if strict => Err(format!("map has no entry for key {name:?}")),
                None => Ok(Self::Missing),
            },
            Self::Secret(map) => map.get(name).cloned().ok_or_else(|| {
                let names: Vec<_> = map.keys().map(String::as_str).collect();
                format!("can't evaluate field {name} in a secret: it has {}", names.join(", "))
            }),
            Self::Missing if strict => Err(format!("nil data; no entry for key {name:?}")),
            Self::Missing => Ok(Self::Missing),
            Self::Nil => Err(format!("nil pointer evaluating interface {{}}.{name}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.kind())),
        }
    }
}
