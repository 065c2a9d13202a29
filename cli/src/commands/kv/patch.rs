//! `kv patch`

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{Place, versions::version_of, written_version};
use crate::{
    failure::{During, Failure},
    input,
    session::Session,
};

/// Change some keys of a secret.
#[derive(Args)]
pub struct Patch {
    /// patch: let the server merge; rw: read, merge and write here. By default patch, or rw where the server cannot.
    #[arg(long, value_parser = ["patch", "rw"])]
    method: Option<String>,
    /// Only if this is the current version.
    #[arg(long, value_name = "VERSION")]
    cas: Option<u64>,
    /// Key to remove; may be repeated.
    #[arg(long = "remove-data", value_name = "KEY", value_delimiter = ',')]
    remove: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// key=value, key=@file, key=-, @file.json or - (JSON from standard input).
    data: Vec<String>,
}

impl Patch {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let kv = self.place.find(session).await?;
        kv.need_versions("Patch")?;
        let mut data = input::data(&self.data)?;
        data.extend(self.remove.iter().map(|key| (key.clone(), Value::Null)));
        if data.is_empty() {
            return Err(Failure::local("Must supply data"));
        }
        let path = kv.api("data");
        let body = |options: Value| json!({ "data": data, "options": options });
        let options = self.cas.map_or(json!({}), |cas| json!({ "cas": cas }));
        if self.method.as_deref() != Some("rw") {
            match session.api().secret(Method::PATCH, &path, "", Some(body(options))).await {
                Err(error) if self.method.is_none() && error.status() == Some(405) => {}
                other => {
                    let envelope = other.during(format_args!("writing data to {path}"))?;
                    return written_version(session, envelope, &path);
                }
            }
        }
        let current = session.api().read(&path, "").await.during(format_args!("reading {path}"))?;
        let mut current = current.and_then(|envelope| envelope.data).unwrap_or_default();
        let version = version_of(&current);
        let Some(Value::Object(mut merged)) = current.remove("data") else {
            return Err(Failure::Nothing(format!("No value found at {path}; patch only works on existing data")));
        };
        for (key, value) in data {
            if value.is_null() { drop(merged.remove(&key)) } else { drop(merged.insert(key, value)) }
        }
        let body = json!({ "data": merged, "options": { "cas": self.cas.or(version) } });
        let envelope = session.api().write(&path, body).await.during(format_args!("writing data to {path}"))?;
        written_version(session, envelope, &path)
    }
}
