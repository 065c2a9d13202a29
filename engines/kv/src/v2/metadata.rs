//! `metadata/`: settings and custom metadata of a secret, its deletion, and lists.

use std::collections::BTreeMap;

use holdfast_logical::{Check, Error, Fields, Operation, Response, StoreError, Txn, View};
use serde_json::{Map, Value};

use super::{
    Answered, Versioned,
    config::not_negative,
    meta::{Config, Meta},
};
use crate::{
    v1::LEFT,
    walk::{self, Page},
};

/// Values that one commit removes.
const CHUNK: usize = 50;

impl Versioned {
    /// Names below a folder; as long as something is left of version 1, that is shown too.
    pub(super) async fn names(&self, operation: Operation, path: &str, fields: &Fields) -> Result<Vec<String>, Error> {
        let (folder, page) = (walk::folder(path), Page::read(|name| fields.get(name).cloned())?);
        let views = [self.view.below("meta"), self.view.below(LEFT)];
        let views: Vec<&View> = views.iter().take(if self.is_settled().await? { 1 } else { 2 }).collect();
        match operation {
            Operation::List => walk::list(&views, &folder, &page).await,
            _ => walk::scan(&views, &folder, &page).await,
        }
    }

    /// What is known of each of these secrets; folders have nothing.
    pub(super) async fn details(&self, path: &str, names: &[String]) -> Result<BTreeMap<String, Value>, Error> {
        let folder = walk::folder(path);
        let mut details = BTreeMap::new();
        for name in names.iter().filter(|name| !name.ends_with('/')) {
            if let Some((meta, _)) = self.meta(&format!("{folder}{name}")).await? {
                details.insert(name.clone(), meta.to_json());
            }
        }
        Ok(details)
    }

    pub(super) async fn read_metadata(&self, path: &str) -> Result<Response, Error> {
        let (meta, _) = self.meta(path).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(meta.to_json()))
    }

    pub(super) async fn write_metadata(&self, path: &str, fields: &Fields) -> Result<Answered, Error> {
        let custom = match fields.get("custom_metadata") {
            Some(Value::Object(custom)) => Some(checked(BTreeMap::new(), custom)?),
            _ => None,
        };
        let config = self.config().await?;
        let written = self
            .change(path, |meta, _, _| {
                meta.allow_metadata(fields, &config)?;
                meta.set(fields)?;
                if let Some(custom) = &custom {
                    meta.custom_metadata = Some(custom.clone());
                }
                Ok(Some(()))
            })
            .await?;
        Ok((Response::empty(), written.history))
    }

    pub(super) async fn patch_metadata(&self, path: &str, fields: &Fields) -> Result<Answered, Error> {
        let config = self.config().await?;
        let patched = self
            .change(path, |meta, exists, _| {
                if !exists {
                    return Ok(None);
                }
                meta.allow_metadata(fields, &config)?;
                meta.set(fields)?;
                if let Some(Value::Object(patch)) = fields.get("custom_metadata") {
                    let before = meta.custom_metadata.take().unwrap_or_default();
                    meta.custom_metadata = Some(checked(before, patch)?);
                }
                Ok(Some(()))
            })
            .await?;
        match patched.outcome {
            Some(()) => Ok((Response::empty(), patched.history)),
            None => Err(Error::not_found()),
        }
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
    /// Does check-and-set allow a write of the metadata?
    fn allow_metadata(&self, fields: &Fields, config: &Config) -> Result<(), Error> {
        match fields.int("metadata_cas") {
            None if self.metadata_cas_required || config.metadata_cas_required => {
                Err(Error::invalid("metadata check-and-set parameter required for this call"))
            }
            Some(cas) if u64::try_from(cas) != Ok(self.metadata_version) => {
                Err(Error::invalid("metadata check-and-set parameter did not match the current version"))
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, fields: &Fields) -> Result<(), Error> {
        if let Some(max_versions) = fields.int("max_versions") {
            self.max_versions = not_negative("max_versions", max_versions)?;
        }
        if let Some(cas_required) = fields.bool("cas_required") {
            self.cas_required = cas_required;
        }
        if let Some(required) = fields.bool("metadata_cas_required") {
            self.metadata_cas_required = required;
        }
        self.metadata_version += 1;
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
