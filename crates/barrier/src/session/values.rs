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

/// What is found at once, or how that failed; `None`: the store, the watch or the gate must be waited for.
type AtHand<T> = Option<Result<Option<T>, StoreError>>;

impl Session {
    /// The value at a path, linearizably.
    pub async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        self.entry(path, self.held(path).await?)
    }

    /// The same from memory.
    pub fn get_at_hand(&self, path: &str) -> AtHand<Entry> {
        self.held_at_hand(path).map(|held| self.entry(path, held?))
    }

    /// When the value at a path was written, linearizably.
    pub async fn revision(&self, path: &str) -> Result<Option<Revision>, StoreError> {
        Ok(self.held::<()>(path).await?.map(|held| held.revision))
    }

    /// The same from memory.
    pub fn revision_at_hand(&self, path: &str) -> AtHand<Revision> {
        self.held_at_hand::<()>(path).map(|held| Ok(held?.map(|held| held.revision)))
    }

    /// The value at a path, linearizably, decoded once for all who ask until it changes.
    pub async fn shared(&self, path: &str, decode: Decode) -> Result<Option<(Shared, Revision)>, StoreError> {
        self.decoded(path, self.held(path).await?, decode)
    }

    /// The same from memory.
    pub fn shared_at_hand(&self, path: &str, decode: Decode) -> AtHand<(Shared, Revision)> {
        self.held_at_hand(path).map(|held| self.decoded(path, held?, decode))
    }

    fn held_at_hand<P: Part>(&self, path: &str) -> AtHand<Held<P>> {
        let key = self.names.key(path);
        let found = self.at_hand(&key)?;
        Some(self.judge(path, key, found))
    }

    async fn held<P: Part>(&self, path: &str) -> Result<Option<Held<P>>, StoreError> {
        let key = self.names.key(path);
        self.readable().await?;
        let found: Found<P> = self.fetch(&key).await?;
        self.see_read(found.revision).await?;
        self.judge(path, key, found)
    }

    fn judge<P: Part>(&self, path: &str, key: Bytes, found: Found<P>) -> Result<Option<Held<P>>, StoreError> {
        let Found { revision, part } = found;
        if self.integrity.is_foreign(&key, revision) {
            let reason = "integrity: it was changed in the store by somebody else".to_owned();
            return Err(StoreError::Corrupt { path: path.to_owned(), reason });
        }
        Ok(part.map(|part| Held { key, revision, part }))
    }

    fn entry(&self, path: &str, held: Option<Held<Value>>) -> Result<Option<Entry>, StoreError> {
        let Some(held) = held else { return Ok(None) };
        let value = self.plain(path, &held.key, held.revision, held.part)?;
        Ok(Some(Entry { value: value.duplicate(), revision: held.revision }))
    }

    fn decoded(
        &self,
        path: &str,
        held: Option<Held<Content>>,
        decode: Decode,
    ) -> Result<Option<(Shared, Revision)>, StoreError> {
        let Some(Held { key, revision, part }) = held else { return Ok(None) };
        let value = match part {
            Content::Decoded(decoded) => return Ok(Some((decoded, revision))),
            Content::Value(value) => value,
        };
        let plain = self.plain(path, &key, revision, value)?;
        let decoded = decode(path, plain.expose())?;
        self.cache.keep_decoded(&key, revision, plain, decoded.clone());
        Ok(Some((decoded, revision)))
    }

    fn plain(&self, path: &str, key: &Bytes, revision: Revision, value: Value) -> Result<Arc<SecretBytes>, StoreError> {
        let stored = match value {
            Value::Plain(plain) => return Ok(plain),
            Value::Stored(stored) => stored,
        };
        let keys = self.keys.load();
        let plain = value::decrypt(&keys.keyring, &keys.mac, path, &stored)
            .map_err(|error| StoreError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
        let plain = Arc::new(plain);
        self.cache.keep_plain(key, revision, plain.clone());
        Ok(plain)
    }
}
