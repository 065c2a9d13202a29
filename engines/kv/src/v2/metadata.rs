//! `metadata/`: settings and custom metadata of a secret, its deletion, and lists.

use std::collections::BTreeMap;

use holdfast_logical::{Check, Error, Fields, Response, StoreError, Txn};
use serde_json::{Map, Value};

use super::{Versioned, config::not_negative, meta::Meta};

/// Values that one commit removes.
const CHUNK: usize = 50;

impl Versioned {
    pub(super) async fn list(&self, path: &str) -> Result<Response, Error> {
        let folder = path.trim_end_matches('/');
        let folder = if folder.is_empty() { "meta/".to_owned() } else { format!("meta/{folder}/") };
        Response::keys(self.view.list(&folder, "", 0).await?)
    }

    pub(super) async fn read_metadata(&self, path: &str) -> Result<Response, Error> {
        let (meta, _) = self.meta(path).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(meta.to_json()))
    }

    pub(super) async fn write_metadata(&self, path: &str, fields: &Fields) -> Result<Response, Error> {
        let custom = match fields.get("custom_metadata") {
            Some(Value::Object(custom)) => Some(checked(BTreeMap::new(), custom)?),
            _ => None,
        };
        self.change(path, |meta, _, _| {
            meta.set(fields)?;
            if let Some(custom) = &custom {
                meta.custom_metadata = Some(custom.clone());
            }
            Ok(Some(()))
        })
        .await?;
        Ok(Response::empty())
    }

    pub(super) async fn patch_metadata(&self, path: &str, fields: &Fields) -> Result<Response, Error> {
        let patched = self
            .change(path, |meta, exists, _| {
                if !exists {
                    return Ok(None);
                }
                meta.set(fields)?;
                if let Some(Value::Object(patch)) = fields.get("custom_metadata") {
                    let before = meta.custom_metadata.take().unwrap_or_default();
                    meta.custom_metadata = Some(checked(before, patch)?);
                }
                Ok(Some(()))
            })
            .await?;
        patched.map(|()| Response::empty()).ok_or_else(Error::not_found)
    }

    /// Values first, metadata last: a crash in between leaves versions that answer as deleted.
    pub(super) async fn delete_metadata(&self, path: &str) -> Result<Response, Error> {
        loop {
            let Some((meta, revision)) = self.meta(path).await? else { return Ok(Response::empty()) };
            let full = self.view.path(&format!("meta/{path}"));
            let numbers: Vec<u64> = meta.versions.keys().copied().collect();
            let chunks: Vec<&[u64]> = if numbers.is_empty() { vec![&[]] } else { numbers.chunks(CHUNK).collect() };
            let last = chunks.len() - 1;
            let mut outcome = Ok(0);
            for (index, chunk) in chunks.into_iter().enumerate() {
                let mut txn = Txn::new();
                txn.check(full.clone(), Check::At(revision));
                for number in chunk {
                    txn.delete(self.value_path(path, *number));
                }
                if index == last {
                    txn.delete(full.clone());
                }
                outcome = self.view.commit(txn).await;
                if outcome.is_err() {
                    break;
                }
            }
            match outcome {
                Ok(_) => return Ok(Response::empty()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Meta {
    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        if let Some(max_versions) = fields.int("max_versions") {
            self.max_versions = not_negative("max_versions", max_versions)?;
        }
        if let Some(cas_required) = fields.bool("cas_required") {
            self.cas_required = cas_required;
        }
        if let Some(after) = fields.duration("delete_version_after") {
            self.delete_version_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

/// Custom metadata after a patch, within its limits. Null removes.
fn checked(
    mut custom: BTreeMap<String, String>,
    patch: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, Error> {
    for (key, value) in patch {
        let text = match value {
            Value::Null => {
                custom.remove(key);
                continue;
            }
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return Err(Error::Invalid(format!("custom_metadata: the value of {key:?} must be a string"))),
        };
        if key.is_empty() || key.len() > 128 {
            return Err(Error::invalid("custom_metadata: a key must have 1 to 128 bytes"));
        }
        if text.is_empty() || text.len() > 512 {
            return Err(Error::Invalid(format!("custom_metadata: the value of {key:?} must have 1 to 512 bytes")));
        }
        custom.insert(key.clone(), text);
    }
    if custom.len() > 64 {
        return Err(Error::Invalid(format!("custom_metadata: {} keys, at most 64 are allowed", custom.len())));
    }
    Ok(custom)
}
