//! `kv metadata`

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value};

use super::{Place, map_table, path_section};
use crate::{
    failure::{During, Failure},
    format, input,
    session::Session,
};

/// Metadata of a secret: versions, limits, custom keys.
#[derive(Subcommand)]
pub enum Metadata {
    /// Show it.
    Get(Place),
    /// Write it.
    Put(Put),
    /// Change some of it.
    Patch(Patch),
    /// Delete the secret with all its versions, for ever.
    Delete(Place),
}

/// Write metadata.
#[derive(Args)]
pub struct Put {
    /// Versions to keep; 0 for the mount's setting.
    #[arg(long, value_name = "NUMBER")]
    max_versions: Option<u64>,
    /// Must every write name the current version?
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    cas_required: Option<bool>,
    /// Delete versions that are older than this.
    #[arg(long, value_name = "DURATION")]
    delete_version_after: Option<String>,
    /// Custom key, key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    custom_metadata: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Change some metadata.
#[derive(Args)]
pub struct Patch {
    /// Custom key to remove; may be repeated.
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    remove_custom_metadata: Vec<String>,
    #[command(flatten)]
    put: Put,
}

impl Metadata {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Get(place) => {
                let kv = place.find(session).await?;
                kv.need_versions("Metadata")?;
                let path = kv.api("metadata");
                let envelope = session.api().read(&path, "").await.during(format_args!("reading {path}"))?;
                let envelope = envelope.ok_or_else(|| Failure::Nothing(format!("No value found at {path}")))?;
                if !session.is_table() {
                    return session.secret(&envelope);
                }
                session.print(&shown(&path, envelope.data.unwrap_or_default()));
                Ok(())
            }
            Self::Put(put) => put.send(session, Method::PUT, &[]).await,
            Self::Patch(Patch { remove_custom_metadata, put }) => {
                put.send(session, Method::PATCH, &remove_custom_metadata).await
            }
            Self::Delete(place) => {
                let kv = place.find(session).await?;
                kv.need_versions("Metadata")?;
                let path = kv.api("metadata");
                session.api().delete(&path).await.during(format_args!("deleting {path}"))?;
                session.say(&format!("Success! Data deleted (if it existed) at: {path}"));
                Ok(())
            }
        }
    }
}

impl Put {
    async fn send(self, session: &Session, method: Method, remove: &[String]) -> Result<(), Failure> {
        let kv = self.place.find(session).await?;
        kv.need_versions("Metadata")?;
        let mut body = Map::new();
        if let Some(versions) = self.max_versions {
            body.insert("max_versions".to_owned(), versions.into());
        }
        if let Some(required) = self.cas_required {
            body.insert("cas_required".to_owned(), required.into());
        }
        if let Some(after) = self.delete_version_after {
            body.insert("delete_version_after".to_owned(), after.into());
        }
        if !self.custom_metadata.is_empty() || !remove.is_empty() {
            let custom = input::texts(&self.custom_metadata)?.into_iter().map(|(key, value)| (key, value.into()));
            let removed = remove.iter().map(|key| (key.clone(), Value::Null));
            body.insert("custom_metadata".to_owned(), Value::Object(custom.chain(removed).collect()));
        }
        let path = kv.api("metadata");
        let written = session.api().secret(method, &path, "", Some(Value::Object(body))).await;
        let envelope = written.during(format_args!("writing metadata to {path}"))?;
        session.secret_or(envelope.as_ref(), &format!("Success! Data written to: {path}"))
    }
}

/// Metadata, then each version below its head.
fn shown(path: &str, mut data: Map<String, Value>) -> String {
    let versions = data.remove("versions");
    let mut parts = vec![
        path_section("Metadata Path", path),
        format!("{}\n{}", format::header_for("Metadata", &data), map_table(&data)),
    ];
    let mut versions: Vec<(u64, Map<String, Value>)> = versions
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(number, version)| Some((number.parse().ok()?, version.as_object()?.clone())))
        .collect();
    versions.sort_by_key(|(number, _)| *number);
    for (number, version) in versions {
        let title = format!("Version {number}");
        parts.push(format!("{}\n{}", format::header_for(&title, &version), map_table(&version)));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn versions_in_their_order() {
        let version = json!({"created_time": "t", "deletion_time": "", "destroyed": false});
        let data = json!({"max_versions": 0, "versions": {"10": version, "9": version}});
        let text = super::shown("secret/metadata/x", data.as_object().unwrap().clone());
        let expected = "\
= Metadata Path =
secret/metadata/x

====== Metadata ======
Key             Value
---             -----
max_versions    0

====== Version 9 ======
Key              Value
---              -----
created_time     t
deletion_time    n/a
destroyed        false

===== Version 10 =====";
        assert!(text.starts_with(expected), "{text}");
    }
}
