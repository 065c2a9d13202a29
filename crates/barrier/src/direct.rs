use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_base::Entropy;
use holdfast_storage::{Compare, Op, Range, Storage, Txn as StorageTxn};

use crate::barrier::condition;
use crate::keyring::Keyring;
use crate::names::{Level, Names};
use crate::value::{self, BatchId, MacKey};
use crate::view::{Entry, Revision, StoreError, Txn, Write};

pub(crate) struct Direct {
    storage: Arc<dyn Storage>,
    entropy: Arc<dyn Entropy>,
    keyring: Keyring,
    names: Names,
    mac: MacKey,
    encryptions: AtomicU64,
}

impl Direct {
    pub fn new(storage: Arc<dyn Storage>, entropy: Arc<dyn Entropy>, keyring: Keyring) -> Self {
        let mut key = [0u8; 64];
        keyring.derive("names", &mut key);
        let mac = MacKey::new(&keyring);
        Self { storage, entropy, keyring, names: Names::new(&key), mac, encryptions: AtomicU64::new(0) }
    }

    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub fn encryptions(&self) -> u64 {
        self.encryptions.load(Ordering::Relaxed)
    }

    pub async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        let (item, _) = self.storage.get(&self.names.key(path)).await?;
        let Some(item) = item else { return Ok(None) };
        let value = value::decrypt(&self.keyring, &self.mac, path, &item.value)
            .map_err(|error| StoreError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Some(Entry { value, revision: item.mod_revision }))
    }

    pub async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let prefix = self.names.folder(folder);
        let page = self.storage.range(Range::prefix(prefix.clone()).keys_only()).await?;
        let mut names = Vec::new();
        for item in page.items {
            let rest = &item.key[prefix.len()..];
            let name = match rest.iter().position(|byte| *byte == b'/') {
                Some(end) => self.names.segment(folder, &rest[..end], Level::Folder).map(|name| name + "/"),
                None => self.names.segment(folder, &rest[1..], Level::Leaf),
            };
            names.extend(name);
        }
        names.sort();
        names.dedup();
        names.retain(|name| name.as_str() > after);
        if limit > 0 {
            names.truncate(limit);
        }
        Ok(names)
    }

    pub async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let compares =
            txn.checks.iter().map(|(path, check)| Compare::new(self.names.key(path), condition(*check))).collect();
        let batch = BatchId { member: [0; 16], lane: 0, seq: 0 };
        let mut then = Vec::new();
        for (path, write) in &txn.writes {
            then.push(match write {
                Write::Put(plain) => {
                    self.encryptions.fetch_add(1, Ordering::Relaxed);
                    let value = value::encrypt(&self.keyring, &*self.entropy, path, plain)
                        .map_err(|error| StoreError::Corrupt { path: path.clone(), reason: error.to_string() })?;
                    Op::put(self.names.key(path), value.stamp(&self.mac, path, batch))
                }
                Write::Delete => Op::delete(self.names.key(path)),
            });
        }
        let reply = self.storage.txn(StorageTxn { compares, then, otherwise: Vec::new() }).await?;
        if reply.succeeded { Ok(reply.revision) } else { Err(StoreError::Conflict) }
    }
}
