//! `kv`

mod metadata;
mod patch;
mod versions;

use clap::{Args, Subcommand};
use holdfast_api_types::Envelope;
use serde_json::{Map, Value, json};

use crate::{
    failure::{During, Failure},
    format, input,
    kvpath::KvPath,
    session::Session,
};

/// Key and value secrets, versioned or not.
#[derive(Subcommand)]
pub enum Kv {
    /// Read a secret.
    Get(Get),
    /// Write a secret, or a new version of it.
    Put(Put),
    /// Change some keys of a secret.
    Patch(patch::Patch),
    /// Delete the latest version, or the given ones; they can be undeleted.
    Delete(versions::Delete),
    /// Bring deleted versions back.
    Undelete(versions::Undelete),
    /// Remove versions for ever.
    Destroy(versions::Destroy),
    /// Write an old version as the newest.
    Rollback(versions::Rollback),
    /// List secrets.
    List(List),
    /// Metadata of a secret: versions, limits, custom keys.
    #[command(subcommand)]
    Metadata(metadata::Metadata),
    /// Turn a kv mount without versions into one with versions.
    EnableVersioning {
        /// Path of the mount.
        mount: String,
    },
}

/// Where a secret is.
#[derive(Args)]
pub struct Place {
    /// Path of the mount; the path is then below it.
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
    /// Path of the secret.
    path: String,
}

/// Read a secret.
#[derive(Args)]
pub struct Get {
    /// Version; the latest by default.
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Write a secret, or a new version of it.
#[derive(Args)]
pub struct Put {
    /// Only if this is the current version; 0: only if there is none.
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
    #[command(flatten)]
    place: Place,
    /// key=value, key=@file, key=-, @file.json or - (JSON from standard input).
    #[arg(required = true)]
    data: Vec<String>,
}

/// List secrets.
#[derive(Args)]
pub struct List {
    /// Path of the mount; the path is then below it.
    #[arg(long, value_name = "PATH")]
    mount: Option<String>,
    /// Path; the whole mount by default when -mount is given.
    path: Option<String>,
}

impl Kv {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Get(command) => command.run(session).await,
            Self::Put(command) => command.run(session).await,
            Self::Patch(command) => command.run(session).await,
            Self::Delete(command) => command.run(session).await,
            Self::Undelete(command) => command.run(session).await,
            Self::Destroy(command) => command.run(session).await,
            Self::Rollback(command) => command.run(session).await,
            Self::List(command) => command.run(session).await,
            Self::Metadata(command) => command.run(session).await,
            Self::EnableVersioning { mount } => {
                let mount = mount.trim_matches('/');
                let body = json!({ "options": { "version": "2" } });
                let tuned = session.api().write(&format!("sys/mounts/{mount}/tune"), body).await;
                tuned.during(format_args!("tuning secrets engine {mount}"))?;
                session.say(&format!("Success! Tuned the secrets engine at: {mount}/"));
                Ok(())
            }
        }
    }
}

impl Place {
    async fn find(&self, session: &Session) -> Result<KvPath, Failure> {
        KvPath::find(session, self.mount.as_deref(), &self.path).await
    }
}

impl Get {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let kv = self.place.find(session).await?;
        let query = match self.version {
            None => String::new(),
            Some(version) => {
                kv.need_versions("-version")?;
                format!("version={version}")
            }
        };
        let path = kv.api("data");
        let envelope = session.api().read(&path, &query).await.during(format_args!("reading {path}"))?;
        let envelope = envelope.ok_or_else(|| Failure::Nothing(format!("No value found at {path}")))?;
        if let Some(name) = session.field() {
            return field(session, &envelope, name, kv.versioned);
        }
        if !session.is_table() || envelope.wrap_info.is_some() {
            return session.secret(&envelope);
        }
        session.warnings(&envelope);
        session.print(&shown(&envelope, &kv));
        Ok(())
    }
}

/// With versions, a field is one of the secret's own, else one of the answer.
fn field(session: &Session, envelope: &Envelope, name: &str, versioned: bool) -> Result<(), Failure> {
    let inner = |data: &Map<String, Value>| match data.get("data") {
        Some(Value::Object(inner)) if versioned => inner.clone(),
        _ if versioned => Map::new(),
        _ => data.clone(),
    };
    let data = envelope.data.as_ref().map(inner).unwrap_or_default();
    if name == "data" && versioned {
        session.print_alone(&format::json(&data));
        return Ok(());
    }
    if versioned && !data.contains_key(name) {
        return session.secret(envelope);
    }
    session.secret(&Envelope { data: Some(data), ..envelope.clone() })
}

/// Path, metadata and data of a secret, each below its head.
pub(crate) fn shown(envelope: &Envelope, kv: &KvPath) -> String {
    let empty = Map::new();
    let data = envelope.data.as_ref().unwrap_or(&empty);
    let section =
        |title: &str, map: &Map<String, Value>| format!("{}\n{}", format::header_for(title, map), map_table(map));
    if !kv.versioned {
        return section("Data", data);
    }
    let mut parts = vec![path_section("Secret Path", &kv.api("data"))];
    if let Some(Value::Object(metadata)) = data.get("metadata") {
        parts.push(section("Metadata", metadata));
    }
    if let Some(Value::Object(data)) = data.get("data") {
        parts.push(section("Data", data));
    }
    parts.join("\n\n")
}

pub(crate) fn path_section(title: &str, path: &str) -> String {
    format!("{}\n{path}", format::padded(title, path.len()))
}

/// The table of a map.
pub(crate) fn map_table(map: &Map<String, Value>) -> String {
    format::secret_table(&Envelope { data: Some(map.clone()), ..Envelope::default() })
}

impl Put {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let kv = self.place.find(session).await?;
        let data = input::data(&self.data)?;
        let path = kv.api("data");
        if !kv.versioned {
            if self.cas.is_some() {
                kv.need_versions("-cas")?;
            }
            let written = session.api().write(&path, Value::Object(data)).await;
            let envelope = written.during(format_args!("writing data to {path}"))?;
            return session.secret_or(envelope.as_ref(), &format!("Success! Data written to: {path}"));
        }
        let mut body = json!({ "data": data, "options": {} });
        if let Some(cas) = self.cas {
            body["options"]["cas"] = cas.into();
        }
        let written = session.api().write(&path, body).await;
        let envelope = written.during(format_args!("writing data to {path}"))?;
        written_version(session, envelope, &path)
    }
}

/// The metadata that a write of a version answers.
pub(crate) fn written_version(session: &Session, envelope: Option<Envelope>, path: &str) -> Result<(), Failure> {
    let Some(envelope) = envelope else {
        session.say(&format!("Success! Data written to: {path}"));
        return Ok(());
    };
    let metadata = envelope.data.as_ref().filter(|_| session.is_table() && envelope.wrap_info.is_none());
    let Some(metadata) = metadata else { return session.secret(&envelope) };
    session.warnings(&envelope);
    session.print(&format!(
        "{}\n\n{}\n{}",
        path_section("Secret Path", path),
        format::header_for("Metadata", metadata),
        map_table(metadata)
    ));
    Ok(())
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.mount.is_none() && self.path.is_none() {
            return Err(Failure::local("Not enough arguments: give a path, or -mount"));
        }
        let kv = KvPath::find(session, self.mount.as_deref(), self.path.as_deref().unwrap_or_default()).await?;
        let path = kv.api("metadata");
        let path = path.trim_end_matches('/');
        let envelope = session.api().list(path).await.during(format_args!("listing {path}"))?;
        super::list::print(session, envelope, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_in_sections() {
        let envelope: Envelope = serde_json::from_value(json!({"data": {
            "data": {"passcode": "my-long-passcode"},
            "metadata": {"created_time": "2026-11-23T22:00:00.123456789Z", "custom_metadata": null,
                "deletion_time": "", "destroyed": false, "version": 1},
        }}))
        .unwrap();
        let kv = KvPath { mount: "secret/".to_owned(), rest: "creds".to_owned(), versioned: true };
        let expected = "\
== Secret Path ==
secret/data/creds

======= Metadata =======
Key                Value
---                -----
created_time       2026-11-23T22:00:00.123456789Z
custom_metadata    <nil>
deletion_time      n/a
destroyed          false
version            1

====== Data ======
Key         Value
---         -----
passcode    my-long-passcode";
        assert_eq!(shown(&envelope, &kv), expected);
    }

    #[test]
    fn without_versions_only_data() {
        let envelope: Envelope = serde_json::from_value(json!({"data": {"a": "b"}})).unwrap();
        let kv = KvPath { mount: "kv/".to_owned(), rest: "x".to_owned(), versioned: false };
        assert_eq!(shown(&envelope, &kv), "== Data ==\nKey    Value\n---    -----\na      b");
    }
}
