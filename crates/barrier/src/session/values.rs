//! Reads of values.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_secret::SecretBytes;
use holdfast_storage::KeyValue;

use super::Session;
use crate::cache::{Found, Known};
use crate::value;
use crate::view::{Decode, Entry, Revision, Shared, StoreError};

/// A value as stored, and what is kept of it beside.
struct Stored {
    key: Bytes,
    item: KeyValue,
    plain: Option<Arc<SecretBytes>>,
    decoded: Option<Shared>,
}

impl Session {
    /// The value at a path, linearizably.
    pub async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        let Some(stored) = self.stored(path).await? else { return Ok(None) };
        let value = self.plain(path, &stored)?;
        Ok(Some(Entry { value: value.duplicate(), revision: stored.item.mod_revision }))
    }

    /// When the value at a path was written, linearizably.
    pub async fn revision(&self, path: &str) -> Result<Option<Revision>, StoreError> {
        Ok(self.stored(path).await?.map(|stored| stored.item.mod_revision))
    }

    /// The value at a path, linearizably, decoded once for all who ask until it changes.
    pub async fn shared(&self, path: &str, decode: Decode) -> Result<Option<(Shared, Revision)>, StoreError> {
        let Some(stored) = self.stored(path).await? else { return Ok(None) };
        let revision = stored.item.mod_revision;
        if let Some(decoded) = &stored.decoded {
            return Ok(Some((decoded.clone(), revision)));
        }
        let decoded = decode(path, self.plain(path, &stored)?.expose())?;
        self.cache.keep_decoded(&stored.key, revision, decoded.clone());
        Ok(Some((decoded, revision)))
    }

    async fn stored(&self, path: &str) -> Result<Option<Stored>, StoreError> {
        let key = self.keys.load().names.key(path);
        let found = match self.at_hand(&key) {
            Some(found) => found,
            // In a box: all reads would make room for it.
            None => Box::pin(self.look_for(&key)).await?,
        };
        if self.integrity.is_foreign(&key, &found.known) {
            let reason = "integrity: it was changed in the store by somebody else".to_owned();
            return Err(StoreError::Corrupt { path: path.to_owned(), reason });
        }
        let Found { known: Known::Present(item), plain, decoded } = found else { return Ok(None) };
        Ok(Some(Stored { key, item, plain, decoded }))
    }

    async fn look_for(&self, key: &Bytes) -> Result<Found, StoreError> {
        self.readable().await?;
        let found = self.fetch(key).await?;
        self.see_read(found.known.revision()).await?;
        Ok(found)
    }

    fn plain(&self, path: &str, stored: &Stored) -> Result<Arc<SecretBytes>, StoreError> {
        if let Some(plain) = &stored.plain {
            return Ok(plain.clone());
        }
        let keys = self.keys.load();
        let plain = value::decrypt(&keys.keyring, &keys.mac, path, &stored.item.value)
            .map_err(|error| StoreError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
        let plain = Arc::new(plain);
        self.cache.keep_plain(&stored.key, stored.item.mod_revision, plain.clone());
        Ok(plain)
    }
}
