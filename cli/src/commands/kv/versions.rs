//! `kv delete`, `undelete`, `destroy` and `rollback`

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Place, written_version};
use crate::{
    failure::{During, Failure},
    session::Session,
};

/// Delete the latest version, or the given ones.
#[derive(Args)]
pub struct Delete {
    /// Versions, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    versions: Vec<u64>,
    #[command(flatten)]
    place: Place,
}

/// Bring deleted versions back.
#[derive(Args)]
pub struct Undelete {
    /// Versions, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "NUMBERS")]
    versions: Vec<u64>,
    #[command(flatten)]
    place: Place,
}

/// Remove versions for ever.
#[derive(Args)]
pub struct Destroy {
    /// Versions, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "NUMBERS")]
    versions: Vec<u64>,
    #[command(flatten)]
    place: Place,
}

/// Write an old version as the newest.
#[derive(Args)]
pub struct Rollback {
    /// The old version.
    #[arg(long, value_name = "NUMBER")]
    version: u64,
    #[command(flatten)]
    place: Place,
}

impl Delete {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let kv = self.place.find(session).await?;
        let (path, result) = if self.versions.is_empty() {
            let path = kv.api("data");
            let result = session.api().delete(&path).await;
            (path, result)
        } else {
            kv.need_versions("-versions")?;
            let path = kv.api("delete");
            let result = session.api().write(&path, json!({ "versions": self.versions })).await;
            (path, result)
        };
        let envelope = result.during(format_args!("deleting {path}"))?;
        session.secret_or(envelope.as_ref(), &format!("Success! Data deleted (if it existed) at: {path}"))
    }
}

impl Undelete {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        on_versions(session, &self.place, "undelete", &self.versions).await
    }
}

impl Destroy {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        on_versions(session, &self.place, "destroy", &self.versions).await
    }
}

async fn on_versions(session: &Session, place: &Place, verb: &str, versions: &[u64]) -> Result<(), Failure> {
    let kv = place.find(session).await?;
    kv.need_versions(verb)?;
    let path = kv.api(verb);
    let written = session.api().write(&path, json!({ "versions": versions })).await;
    let envelope = written.during(format_args!("writing data to {path}"))?;
    session.secret_or(envelope.as_ref(), &format!("Success! Data written to: {path}"))
}

impl Rollback {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let kv = self.place.find(session).await?;
        kv.need_versions("Rollback")?;
        let path = kv.api("data");
        // The current version guards the write: what is written meanwhile is not lost.
        let current = session.api().read(&path, "").await.during(format_args!("reading {path}"))?;
        let current = current.and_then(|envelope| envelope.data).unwrap_or_default();
        let version = version_of(&current).ok_or_else(|| Failure::Nothing(format!("No value found at {path}")))?;
        let old = session.api().read(&path, &format!("version={}", self.version)).await;
        let old = old.during(format_args!("reading {path}"))?.and_then(|envelope| envelope.data?.remove("data"));
        let old = old.filter(Value::is_object).ok_or_else(|| {
            Failure::Nothing(format!("Cannot roll back to version {}: it was deleted or never was", self.version))
        })?;
        let body = json!({ "data": old, "options": { "cas": version } });
        let envelope = session.api().write(&path, body).await.during(format_args!("writing data to {path}"))?;
        written_version(session, envelope, &path)
    }
}

/// Version in the metadata of a kv v2 answer.
pub(crate) fn version_of(data: &Map<String, Value>) -> Option<u64> {
    data.get("metadata")?.get("version")?.as_u64()
}
