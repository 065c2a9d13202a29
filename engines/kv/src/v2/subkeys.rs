//! `subkeys/`: the shape of a secret without its values.

use holdfast_logical::{Error, Fields, Response};
use serde_json::{Map, Value, json};

use super::{
    Versioned,
    config::not_negative,
    data::{Found, gone},
};

impl Versioned {
    pub(super) async fn read_subkeys(&self, path: &str, fields: &Fields) -> Result<Response, Error> {
        let depth = not_negative("depth", fields.int("depth").unwrap_or(0))?;
        match self.find(path, fields).await? {
            Found::Live(meta, version, text) => {
                let data: Map<String, Value> = serde_json::from_str(text.get()).unwrap_or_default();
                let depth = if depth == 0 { u64::MAX } else { depth };
                Ok(Response::data(json!({"subkeys": keys(data, depth), "metadata": meta.describe(version)})))
            }
            Found::Gone(meta, version) => Ok(gone(json!({"subkeys": null, "metadata": meta.describe(version)}))),
        }
    }
}

fn keys(data: Map<String, Value>, depth: u64) -> Value {
    let strip = |value| match value {
        Value::Object(inner) if depth > 1 => keys(inner, depth - 1),
        _ => Value::Null,
    };
    Value::Object(data.into_iter().map(|(key, value)| (key, strip(value))).collect())
}
