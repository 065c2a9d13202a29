//! `data/`: reading, writing and patching the newest version, reading older ones.

use std::sync::Arc;

use holdfast_logical::{Data, Error, Fields, Response, Timestamp};
use holdfast_secret::SecretBytes;
use serde::Serialize;
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    Answered, Versioned,
    config::not_negative,
    meta::{Config, Meta},
};
use crate::merge::merge;

/// What a read finds.
pub(super) enum Found {
    /// A version that can be read, and its text.
    Live(Arc<Meta>, u64, Box<RawValue>),
    /// A version that was deleted or destroyed.
    Gone(Arc<Meta>, u64),
}

#[derive(Serialize)]
struct Body<'a> {
    data: Option<&'a RawValue>,
    metadata: Map<String, Value>,
}

impl Versioned {
    pub(super) async fn read_data(&self, path: &str, fields: &Fields) -> Result<Response, Error> {
        match self.find(path, fields).await? {
            Found::Live(meta, version, text) => {
                let body = Body { data: Some(&text), metadata: meta.describe(version) };
                let raw = to_raw_value(&body).map_err(|error| Error::Internal(error.to_string()))?;
                Ok(Response { data: Some(Data::Raw(raw)), ..Response::default() })
            }
            Found::Gone(meta, version) => Ok(gone(json!({"data": null, "metadata": meta.describe(version)}))),
        }
    }

    /// The version that the request names, or the newest. A 404 when there never was one.
    pub(super) async fn find(&self, path: &str, fields: &Fields) -> Result<Found, Error> {
        let wanted = not_negative("version", fields.int("version").unwrap_or(0))?;
        let mut missed = None;
        loop {
            let (meta, revision) = self.meta(path).await?.ok_or_else(Error::not_found)?;
            let number = if wanted == 0 { meta.current_version } else { wanted };
            let live = meta.versions.get(&number).ok_or_else(Error::not_found)?.live(self.clock.now());
            if !live {
                return Ok(Found::Gone(meta, number));
            }
            if let Some((text, _)) = self.view.get_json(&format!("value/{path}/{number}")).await? {
                return Ok(Found::Live(meta, number, text));
            }
            // It went between the two reads, as one of more versions than are kept or by being destroyed: the metadata says so
            // by now. What is lost while its metadata stays as it was is gone.
            if missed.replace(revision) == Some(revision) {
                return Ok(Found::Gone(meta, number));
            }
        }
    }

    pub(super) async fn write_data(&self, path: &str, fields: &mut Fields) -> Result<Answered, Error> {
        let cas = cas(fields)?;
        let text = match fields.take("data") {
            Some(data @ Value::Object(_)) => encode(&data)?,
            Some(Value::Null) => encode(&Value::Null)?,
            None => return Err(Error::invalid("no data provided")),
            Some(_) => return Err(Error::invalid("field \"data\": it must be a JSON object")),
        };
        let config = self.config().await?;
        let written = self
            .change(path, |meta, _, txn| {
                meta.allow(cas, &config)?;
                Ok(Some(self.add(path, meta, &config, &text, txn)))
            })
            .await?;
        Ok((Response::data(written.outcome.unwrap_or_default()), written.history))
    }

    pub(super) async fn patch_data(&self, path: &str, fields: &mut Fields) -> Result<Answered, Error> {
        let cas = cas(fields)?;
        let patch = match fields.take("data") {
            Some(Value::Object(patch)) => patch,
            None => return Err(Error::invalid("no data provided")),
            Some(_) => return Err(Error::invalid("field \"data\": it must be a JSON object")),
        };
        let config = self.config().await?;
        loop {
            let (number, text) = match self.find(path, &Fields::default()).await? {
                Found::Live(_, number, text) => (number, text),
                Found::Gone(meta, number) => {
                    return Ok((gone(json!({"data": null, "metadata": meta.describe(number)})), None));
                }
            };
            let mut data: Map<String, Value> = serde_json::from_str(text.get()).unwrap_or_default();
            merge(&mut data, patch.clone());
            let text = encode(&Value::Object(data))?;
            let written = self
                .change(path, |meta, exists, txn| {
                    meta.allow(cas, &config)?;
                    if !exists || meta.current_version != number || !meta.is_live(number, self.clock.now()) {
                        return Ok(None);
                    }
                    Ok(Some(self.add(path, meta, &config, &text, txn)))
                })
                .await?;
            if let Some(described) = written.outcome {
                return Ok((Response::data(described), written.history));
            }
        }
    }

    fn add(
        &self,
        path: &str,
        meta: &mut Meta,
        config: &Config,
        text: &SecretBytes,
        txn: &mut holdfast_logical::Txn,
    ) -> Map<String, Value> {
        let (number, removed) = meta.add(config, self.clock.now());
        txn.put(self.value_path(path, number), text.duplicate());
        for version in removed {
            txn.delete(self.value_path(path, version));
        }
        meta.describe(number)
    }
}

impl Meta {
    /// Does check-and-set allow a write?
    fn allow(&self, cas: Option<i64>, config: &Config) -> Result<(), Error> {
        match cas {
            None if self.cas_required || config.cas_required => {
                Err(Error::invalid("check-and-set parameter required for this call"))
            }
            Some(cas) if u64::try_from(cas) != Ok(self.current_version) => {
                Err(Error::invalid("check-and-set parameter did not match the current version"))
            }
            _ => Ok(()),
        }
    }

    /// `metadata` of an answer about a version.
    pub(super) fn describe(&self, number: u64) -> Map<String, Value> {
        self.versions.get(&number).map(|version| self.version_json(number, version)).unwrap_or_default()
    }

    /// Is the version there, neither deleted nor destroyed?
    pub(super) fn is_live(&self, number: u64, now: Timestamp) -> bool {
        self.versions.get(&number).is_some_and(|version| version.live(now))
    }
}

/// A 404 with the normal envelope: clients read the metadata of a deleted version from it.
pub(super) fn gone(body: Value) -> Response {
    Response { status: Some(404), ..Response::data(body) }
}

/// `options.cas`. A negative number is one, and matches no version.
fn cas(fields: &Fields) -> Result<Option<i64>, Error> {
    let Some(cas) = fields.get("options").and_then(|options| options.get("cas")) else { return Ok(None) };
    let number = match cas {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.map(Some).ok_or_else(|| Error::invalid("error parsing check-and-set parameter: it must be a whole number"))
}

fn encode(value: &Value) -> Result<SecretBytes, Error> {
    serde_json::to_vec(value).map(SecretBytes::new).map_err(|error| Error::Internal(error.to_string()))
}
