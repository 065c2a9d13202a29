//! What is printed: tables as the vault command prints them, JSON, YAML, single fields.

mod secret;
mod table;
mod yaml;

use holdfast_api_types::{AuthInfo, Envelope, WrapInfo};
use serde::Serialize;
use serde_json::{Map, Value};

pub use secret::{field, secret_table};
pub use table::{columns, header_for, key_value, padded};

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns.
    #[default]
    Table,
    /// JSON, two spaces of indentation.
    Json,
    /// YAML.
    #[value(alias = "yml")]
    Yaml,
    /// The body as the server sent it.
    Raw,
    /// Columns.
    #[value(hide = true)]
    Pretty,
}

/// Any JSON value in the format; the table form is the caller's.
pub fn value(format: Format, value: &Value, table: impl FnOnce() -> String) -> String {
    match format {
        Format::Json => json(value),
        Format::Yaml => yaml::write(value),
        Format::Raw => value.to_string(),
        Format::Table | Format::Pretty => table(),
    }
}

/// An answer with its envelope.
pub fn secret(format: Format, envelope: &Envelope) -> String {
    match format {
        Format::Json => json(&Shown::of(envelope)),
        Format::Yaml => yaml::write(&serde_json::to_value(Shown::of(envelope)).unwrap_or_default()),
        Format::Raw => serde_json::to_string(envelope).unwrap_or_default(),
        Format::Table | Format::Pretty => secret_table(envelope),
    }
}

/// As `-format=json` prints it.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The envelope in the order in which the vault command prints it, `auth` and `wrap_info` only where they are set.
#[derive(Serialize)]
struct Shown<'a> {
    request_id: &'a str,
    lease_id: &'a str,
    lease_duration: u64,
    renewable: bool,
    data: &'a Option<Map<String, Value>>,
    warnings: &'a Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: &'a Option<AuthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrap_info: &'a Option<WrapInfo>,
    mount_type: &'a str,
}

impl<'a> Shown<'a> {
    fn of(envelope: &'a Envelope) -> Self {
        let Envelope { request_id, lease_id, renewable, lease_duration, data, wrap_info, warnings, auth, mount_type } =
            envelope;
        Self {
            request_id,
            lease_id,
            lease_duration: *lease_duration,
            renewable: *renewable,
            data,
            warnings,
            auth,
            wrap_info,
            mount_type,
        }
    }
}

/// A value as Go prints it with `%v`: lists `[a b]`, maps `map[a:b]`, null `<nil>`.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| format!("{key}:{}", plain(value));
            format!("map[{}]", map.iter().map(member).collect::<Vec<_>>().join(" "))
        }
    }
}

/// Text for a table cell, empty when absent.
pub fn cell(map: &Map<String, Value>, key: &str) -> String {
    map.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default()
}

/// Seconds as people read them: `768h`, `1h5m`, `90s` as `1m30s`.
pub fn seconds(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, rest) => format!("{minutes}m{rest}s"),
        (hours, 0, 0) => format!("{hours}h"),
        (hours, minutes, 0) => format!("{hours}h{minutes}m"),
        (hours, minutes, rest) => format!("{hours}h{minutes}m{rest}s"),
    }
}
