//! Reads of values.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_secret::SecretBytes;

use super::Session;
use crate::cache::{Content, Found, Part, Value};
use crate::value;
use crate::view::{Decode, Entry, Revision, Shared, StoreError};

/// What was found at a path.
struct Held<P> {
    key: Bytes,
    revision: Revision,
    part: P,
}

impl Session {
    /// The value at a path, linearizably.
    pub async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        let Some(held) = self.held(path).await? else { return Ok(None) };
        let value = self.plain(path, &held.key, held.part)?;
        Ok(Some(Entry { value: value.duplicate(), revision: held.revision }))
    }

    /// When the value at a path was written, linearizably.
    pub async fn revision(&self, path: &str) -> Result<Option<Revision>, StoreError> {
        Ok(self.held::<()>(path).await?.map(|held| held.revision))
    }

    /// The value at a path, linearizably, decoded once for all who ask until it changes.
    pub async fn shared(&self, path: &str, decode: Decode) -> Result<Option<(Shared, Revision)>, StoreError> {
        let Some(Held { key, revision, part }) = self.held(path).await? else { return Ok(None) };
        let value = match part {
            Content::Decoded(decoded) => return Ok(Some((decoded, revision))),
            Content::Value(value) => value,
        };
        let decoded = decode(path, self.plain(path, &key, value)?.expose())?;
        self.cache.keep_decoded(&key, revision, decoded.clone());
        Ok(Some((decoded, revision)))
    }

    async fn held<P: Part + Send>(&self, path: &str) -> Result<Option<Held<P>>, StoreError> {
        let key = self.keys.load().names.key(path);
        let found = match self.at_hand(&key) {
            Some(found) => found,
            // In a box: all reads would make room for it.
            None => Box::pin(self.look_for(&key)).await?,
        };
        let Found { revision, part } = found;
        if self.integrity.is_foreign(&key, revision, part.is_none()) {
            let reason = "integrity: it was changed in the store by somebody else".to_owned();
            return Err(StoreError::Corrupt { path: path.to_owned(), reason });
        }
        Ok(part.map(|part| Held { key, revision, part }))
    }

    async fn look_for<P: Part + Send>(&self, key: &Bytes) -> Result<Found<P>, StoreError> {
        self.readable().await?;
        let found: Found<P> = self.fetch(key).await?;
        self.see_read(found.revision).await?;
        Ok(found)
    }

    fn plain(&self, path: &str, key: &Bytes, value: Value) -> Result<Arc<SecretBytes>, StoreError> {
        let item = match value {
            Value::Plain(plain) => return Ok(plain),
            Value::Stored(item) => item,
        };
        let keys = self.keys.load();
        let plain = value::decrypt(&keys.keyring, &keys.mac, path, &item.value)
            .map_err(|error| StoreError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
        let plain = Arc::new(plain);
        self.cache.keep_plain(key, item.mod_revision, plain.clone());
        Ok(plain)
    }
}
