//! Files that get the login token.

use std::path::Path;

use holdfast_api_types::header;
use holdfast_client::{Call, Client};
use holdfast_secret::SecretString;
use serde_json::{Value, json};

use crate::{
    config::{Config, Sink},
    failure::{Class, Failure},
    files::{self, Change},
};

/// Permissions of the token in an injected pod's volume.
const VOLUME_MODE: u32 = 0o644;

/// Writes the client's token into all sinks whose content is another one. A wrapped token is wrapped anew.
pub async fn write(config: &Config, client: &Client) -> Result<(), Failure> {
    let Some(token) = client.token() else { return Ok(()) };
    let mut changes = Vec::new();
    if let Some(path) = &config.token_file {
        let text = SecretString::new(token.expose());
        changes.push(Change { path: path.clone(), mode: VOLUME_MODE, text, ..Change::default() });
    }
    for sink in &config.sinks {
        let text = match sink.wrap_ttl {
            None => SecretString::new(token.expose()),
            Some(ttl) => wrapped(client, token, ttl.as_secs(), &sink.path).await?,
        };
        changes.push(change(sink, text)?);
    }
    changes.retain(|change| !files::holds(&change.path, change.text.expose(), change.mode));
    files::swap(&changes).map_err(|error| Failure::new(Class::Template, format!("cannot write the token: {error}")))
}

fn change(sink: &Sink, text: SecretString) -> Result<Change, Failure> {
    let failed = |reason: String| Failure::new(Class::Config, format!("sink {}: {reason}", sink.path.display()));
    let mode = u32::from_str_radix(&sink.mode, 8).map_err(|_| failed(format!("mode {:?} is not octal", sink.mode)))?;
    let owner = files::owner(sink.owner.as_ref()).map_err(failed)?;
    Ok(Change { path: sink.path.clone(), mode, text, owner, ..Change::default() })
}

/// The answer of a wrapping, as Vault's agent writes it: `{"token", "accessor", "ttl", …}`.
async fn wrapped(client: &Client, token: &SecretString, seconds: u64, path: &Path) -> Result<SecretString, Failure> {
    let failed =
        |reason: String| Failure::new(Class::Away, format!("sink {}: cannot wrap the token: {reason}", path.display()));
    let call = Call {
        method: http::Method::PUT,
        path: "sys/wrapping/wrap".to_owned(),
        body: Some(json!({ "token": token.expose() })),
        headers: vec![(header::WRAP_TTL, seconds.to_string())],
        ..Call::default()
    };
    let answer: Value = client.bare(call).await.map_err(|error| failed(error.to_string()))?;
    match answer.get("wrap_info") {
        Some(info) if info.is_object() => Ok(SecretString::new(info.to_string())),
        _ => Err(failed("the server did not wrap it".to_owned())),
    }
}
