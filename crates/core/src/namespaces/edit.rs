//! Changes of the table of namespaces, each by compare.

use std::{collections::BTreeMap, sync::Arc};

use holdfast_base::id;
use holdfast_logical::{Check, Namespace, StoreError, Txn};
use holdfast_secret::same;
use sha2::{Digest, Sha256};

use super::{
    KEY, Known, Record, Table, live_key, not_found,
    record::{DEEPEST, check_name},
};
use crate::{Class, Error, open::Open};

/// Attempts before a busy table is reported as such.
const ATTEMPTS: usize = 16;

/// Length of the id, and of a key that unlocks.
const ID: usize = 6;
const UNLOCK_KEY: usize = 24;

impl Open {
    /// Makes a child of `parent`, or sets the metadata of one that is there.
    pub async fn set_namespace(
        &self,
        parent: &Namespace,
        name: &str,
        custom_metadata: BTreeMap<String, String>,
    ) -> Result<Record, Error> {
        let path = format!("{}{}/", parent.path, check_name(name)?);
        if path.matches('/').count() > DEEPEST {
            return Err(Error::invalid(format!("namespaces can be nested {DEEPEST} deep")));
        }
        let _turn = self.mounts.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let room = self.room_for(parent, &path).await;
            let done = self.try_edit_namespaces(|table, txn| {
                if let Some(record) = table.namespaces.iter_mut().find(|record| record.path == path) {
                    if record.leaving {
                        return Err(Error::invalid(format!(
                            "namespace {path:?} is being deleted: wait until it is gone"
                        )));
                    }
                    record.custom_metadata.clone_from(&custom_metadata);
                    return Ok(record.clone());
                }
                txn.checks.extend(room.as_ref().map_err(Error::duplicate)?.iter().cloned());
                let record = self.new_record(table, path.clone(), custom_metadata.clone());
                self.furnish(&record, txn)?;
                table.namespaces.push(record.clone());
                Ok(record)
            });
            if let Some(record) = done.await? {
                return Ok(record);
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Refuses a namespace where its parent has a mount; the checks hold as long as that is so and the parent serves.
    async fn room_for(&self, parent: &Namespace, path: &str) -> Result<Vec<(String, Check)>, Error> {
        let (mounts, unchanged) = self.mounts.table(&parent.id, Class::Secret).await?;
        let own = path.get(parent.path.len()..).unwrap_or_default();
        if let Some(taken) =
            mounts.mounts.iter().find(|mount| mount.path.starts_with(own) || own.starts_with(&mount.path))
        {
            return Err(Error::invalid(format!("path is already in use at {}", taken.path)));
        }
        let mut checks = vec![(self.mounts.table_key(&parent.id, Class::Secret), unchanged)];
        if !parent.is_root() {
            checks.push((live_key(parent), Check::Exists));
        }
        Ok(checks)
    }

    fn new_record(&self, table: &Table, path: String, custom_metadata: BTreeMap<String, String>) -> Record {
        let entropy = self.config.entropy.as_ref();
        let mut fresh = id::base62(entropy, ID);
        while table.namespaces.iter().any(|record| record.id == fresh) {
            fresh = id::base62(entropy, ID);
        }
        Record { id: fresh, uuid: id::uuid(entropy), path, custom_metadata, ..Record::default() }
    }

    /// What every namespace has from its beginning.
    fn furnish(&self, record: &Record, txn: &mut Txn) -> Result<(), StoreError> {
        let namespace = Arc::new(Namespace { id: record.id.clone(), path: record.path.clone() });
        txn.put_json(live_key(&namespace), &())?;
        self.mounts.first_tables(&namespace, txn)?;
        self.policies.first_policies(&namespace, txn)
    }

    /// Sets (and with null removes) single keys of the metadata.
    pub async fn patch_namespace(
        &self,
        known: &Known,
        patch: &BTreeMap<String, Option<String>>,
    ) -> Result<Record, Error> {
        self.edit_namespace(&known.record.id, |record, _| {
            for (key, value) in patch {
                match value {
                    Some(value) => record.custom_metadata.insert(key.clone(), value.clone()),
                    None => record.custom_metadata.remove(key),
                };
            }
            Ok(record.clone())
        })
        .await
    }

    /// Locks a namespace; answers the key that unlocks it.
    pub async fn lock_namespace(&self, known: &Known) -> Result<String, Error> {
        let key = id::base62(self.config.entropy.as_ref(), UNLOCK_KEY);
        self.edit_namespace(&known.record.id, |record, _| {
            if record.lock.is_some() {
                return Err(Error::invalid(format!("namespace {:?} is locked already", record.path)));
            }
            record.lock = Some(hash(&key));
            Ok(())
        })
        .await?;
        Ok(key)
    }

    /// Unlocks a namespace with its key, or without one for those who may.
    pub async fn unlock_namespace(&self, known: &Known, key: Option<&str>) -> Result<(), Error> {
        self.edit_namespace(&known.record.id, |record, _| {
            let lock = record.lock.take();
            let lock = lock.ok_or_else(|| Error::invalid(format!("namespace {:?} is not locked", record.path)))?;
            match key {
                Some(key) if !same(hash(key), lock) => Err(Error::invalid("incorrect unlock key")),
                _ => Ok(()),
            }
        })
        .await
    }

    pub(super) async fn edit_namespace<T>(
        &self,
        id: &str,
        change: impl Fn(&mut Record, &mut Txn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = self.mounts.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let done = self.try_edit_namespaces(|table, txn| {
                let record = table.namespaces.iter_mut().find(|record| record.id == id);
                change(record.ok_or_else(not_found)?, txn)
            });
            if let Some(value) = done.await? {
                return Ok(value);
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// One attempt; none: another replica was faster.
    pub(super) async fn try_edit_namespaces<T>(
        &self,
        change: impl FnOnce(&mut Table, &mut Txn) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let view = self.root.below("core");
        let stored = view.get_json::<Table>(KEY).await?;
        let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
        let (mut table, mut txn) = (stored.map(|(table, _)| table).unwrap_or_default(), Txn::new());
        let value = change(&mut table, &mut txn)?;
        table.namespaces.sort_by(|a, b| a.path.cmp(&b.path));
        txn.check(view.path(KEY), check);
        txn.put_json(view.path(KEY), &table)?;
        self.mounts.touch(&mut txn)?;
        match view.commit(txn).await {
            Ok(_) => {
                self.mounts.current().await?;
                Ok(Some(value))
            }
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}
