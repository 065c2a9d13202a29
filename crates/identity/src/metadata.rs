//! Metadata: what people and auth methods say of entities, aliases and groups.

use std::collections::BTreeMap;

use holdfast_logical::{Error, Fields};
use serde_json::{Value, json};

/// Keys with values.
pub(crate) type Metadata = BTreeMap<String, String>;

/// Limits as in Vault.
const KEYS: usize = 64;
const KEY: usize = 128;
const VALUE: usize = 512;

/// Longest name of an entity, alias or group, in bytes.
pub const NAME: usize = 512;

/// The metadata of a field, if it was sent.
pub(crate) fn read(fields: &Fields, name: &str) -> Result<Option<Metadata>, Error> {
    let Some(metadata) = fields.string_map(name) else { return Ok(None) };
    check(name, &metadata)?;
    Ok(Some(metadata))
}

fn check(name: &str, metadata: &Metadata) -> Result<(), Error> {
    if metadata.len() > KEYS {
        return Err(Error::invalid(format!("{name}: at most {KEYS} keys, {} were given", metadata.len())));
    }
    for (key, value) in metadata {
        if key.is_empty() || key.len() > KEY || value.len() > VALUE {
            return Err(Error::invalid(format!("{name}: keys have 1 to {KEY} bytes, values at most {VALUE}")));
        }
    }
    Ok(())
}

/// What an auth method says, cut to the limits rather than refused: it must not keep anybody from logging in.
pub(crate) fn within_limits(metadata: &Metadata) -> Metadata {
    let fits = |(key, value): &(&String, &String)| !key.is_empty() && key.len() <= KEY && value.len() <= VALUE;
    metadata.iter().filter(fits).take(KEYS).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Null when there is none, as in Vault.
pub(crate) fn show(metadata: &Metadata) -> Value {
    if metadata.is_empty() { Value::Null } else { json!(metadata) }
}

/// A name that somebody gives, without white space around it.
pub(crate) fn name<'n>(field: &str, name: &'n str) -> Result<&'n str, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{field}: a name has 1 to {NAME} bytes and no control characters")));
    }
    Ok(name)
}
