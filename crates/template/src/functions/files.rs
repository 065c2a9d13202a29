//! Our own: all fields of a secret as a file of a known format.

use serde_json::{Map, Value as Json};

use super::{Function, arguments::map, row};
use crate::{fields, value::Value};

pub(crate) const ROWS: &[Function] = &[
    row(
        "dotenv",
        (1, 1),
        "MAP",
        "`NAME='value'` lines that a shell sources; it expands and runs nothing in a value",
        |args, _| fields::dotenv(&object(args)?).map(Value::text),
    ),
    row("pem", (1, 1), "MAP", "private key, certificate and chain of a secret, one after the other", |args, _| {
        fields::pem(&object(args)?).map(|parts| Value::text(parts.concat()))
    }),
    row("properties", (1, 1), "MAP", "as a properties file of Java", |args, _| {
        Ok(Value::text(fields::properties(&object(args)?)))
    }),
];

fn object(args: &[Value]) -> Result<Map<String, Json>, String> {
    Ok(map(args, 0)?.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
}
