//! [`View`]: a window on the encrypted key space that cannot look outside its prefix.
//!
//! Paths here are plain text, segments separated by `/`, no leading slash. What etcd sees of them is ciphertext.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_secret::SecretBytes;
use serde::{Serialize, de::DeserializeOwned};

/// etcd's revision: one number for the whole store, growing with each committed transaction.
pub type Revision = i64;

/// A decrypted value and the revision that wrote it.
#[derive(Debug)]
pub struct Entry {
    /// The plain bytes.
    pub value: SecretBytes,
    /// `mod_revision` of the key: compare on it to write only if nobody else did.
    pub revision: Revision,
}

/// A decoded value that is kept until the stored one changes.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// Decodes the plain bytes at a full path.
pub type Decode = fn(&str, &[u8]) -> Result<Shared, StoreError>;

/// What must hold of a key for a transaction to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// There is no such key.
    Absent,
    /// There is such a key, whatever its value.
    Exists,
    /// The key was last written by this revision.
    At(Revision),
}

/// One change of a transaction.
#[derive(Debug)]
pub enum Write {
    /// Sets the value.
    Put(SecretBytes),
    /// Removes the key; nothing happens if it is not there.
    Delete,
}

/// Checks and writes that are applied together or not at all. A path may be written once.
#[derive(Debug, Default)]
pub struct Txn {
    /// Full paths and what must hold of them.
    pub checks: Vec<(String, Check)>,
    /// Full paths and what becomes of them.
    pub writes: Vec<(String, Write)>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A check did not hold; nothing was written. Read again and decide anew.
    #[error("a concurrent change was made; nothing was written")]
    Conflict,
    /// The keyring is not in memory.
    #[error("sealed")]
    Sealed,
    /// The value or the transaction is larger than the store takes.
    #[error("too large: {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of what was given.
        bytes: usize,
        /// Largest size taken.
        limit: usize,
    },
    /// The store takes no more writes until space is made (etcd: NOSPACE alarm).
    #[error("the store is out of space")]
    NoSpace,
    /// The store cannot be reached, or not in time. For a write this means: not committed, and it never will be.
    /// Two kinds say that nobody knows: one that waited too long for other replicas, and one that was cut off with the write
    /// in flight for longer than the store keeps its history.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored does not decrypt or does not decode. Names the plain path, never the content.
    #[error("stored data at {path} is damaged: {reason}")]
    Corrupt {
        /// Plain path of the key.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value could not be encoded.
    #[error("cannot encode a value for {path}: {reason}")]
    Encode {
        /// Plain path of the key.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The encrypted key space by plain paths. `Barrier` implements it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value at a path, linearizably.
    async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError>;

    /// The revision that wrote the value at a path, linearizably.
    async fn revision(&self, path: &str) -> Result<Option<Revision>, StoreError> {
        Ok(self.get(path).await?.map(|entry| entry.revision))
    }

    /// The value at a path, linearizably, decoded. A store with a cache decodes once for all who ask.
    async fn shared(&self, path: &str, decode: Decode) -> Result<Option<(Shared, Revision)>, StoreError> {
        let Some(entry) = self.get(path).await? else { return Ok(None) };
        Ok(Some((decode(path, entry.value.expose())?, entry.revision)))
    }

    /// Names directly below `folder` (which ends in `/` or is empty), sorted; a name that has names below it ends in
    /// `/` (a name can appear both ways). Only names greater than `after`, at most `limit` of them (0: all).
    async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Number of keys below `folder` (which ends in `/` or is empty), at all depths, linearizably. A store that can counts
    /// without reading names.
    async fn count(&self, folder: &str) -> Result<u64, StoreError> {
        let (mut folders, mut count) = (vec![folder.to_owned()], 0);
        while let Some(folder) = folders.pop() {
            for name in self.list(&folder, "", 0).await? {
                match name.ends_with('/') {
                    true => folders.push(format!("{folder}{name}")),
                    false => count += 1,
                }
            }
        }
        Ok(count)
    }

    /// Applies the transaction; returns its revision.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// The member of the cluster that writes here: an id that is never used twice. `None` unless the store has confirmed
    /// lately that it still is one; what somebody else may have taken over must not be begun then. A store of its own
    /// has one member, without a name.
    fn member(&self) -> Option<String> {
        Some(String::new())
    }

    /// The state that the reads of the current request show, if they show it without a wait.
    fn mark(&self) -> Option<Mark> {
        None
    }

    /// Whether they show that state now: then what the request that took the mark had read until then need not be read
    /// again. The answer to the current one waits for other replicas as if it had been.
    fn is_unchanged(&self, _mark: &Mark) -> bool {
        false
    }
}

/// A state of the store, by which one knows it again; see [`View::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Changes when the store is read anew.
    pub(crate) epoch: u64,
    /// The last change of anything.
    pub(crate) applied: Revision,
    /// The last change of what the request had read.
    pub(crate) seen: Revision,
}

impl Mark {
    /// Whether it is the same state, whatever was read of it.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.epoch, self.applied) == (other.epoch, other.applied)
    }
}

/// A window on a [`Store`] below one prefix.
#[derive(Clone)]
pub struct View {
    store: Arc<dyn Store>,
    prefix: Arc<str>,
}

// === impl Txn ===

impl Txn {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check on a full path (see [`View::path`]).
    pub fn check(&mut self, path: String, check: Check) -> &mut Self {
        self.checks.push((path, check));
        self
    }

    /// Adds a put on a full path.
    pub fn put(&mut self, path: String, value: SecretBytes) -> &mut Self {
        self.writes.push((path, Write::Put(value)));
        self
    }

    /// Adds a put of a value as JSON on a full path.
    pub fn put_json<T: Serialize>(&mut self, path: String, value: &T) -> Result<&mut Self, StoreError> {
        let bytes = encode(&path, value)?;
        Ok(self.put(path, bytes))
    }

    /// Adds a delete on a full path.
    pub fn delete(&mut self, path: String) -> &mut Self {
        self.writes.push((path, Write::Delete));
        self
    }

    /// Takes over the checks and writes of another transaction.
    pub fn merge(&mut self, other: Txn) -> &mut Self {
        self.checks.extend(other.checks);
        self.writes.extend(other.writes);
        self
    }
}

// === impl View ===

impl View {
    /// A window below `prefix`, which is empty or ends in `/`.
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        debug_assert!(prefix.is_empty() || prefix.ends_with('/'));
        Self { store, prefix: prefix.into() }
    }

    /// A smaller window: `segment` is appended to the prefix, with a `/`.
    pub fn below(&self, segment: &str) -> Self {
        Self { store: self.store.clone(), prefix: format!("{}{segment}/", self.prefix).into() }
    }

    /// The full path of a path in this window, for use in a [`Txn`].
    pub fn path(&self, path: &str) -> String {
        [&*self.prefix, path].concat()
    }

    /// The bytes at a path.
    pub async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(&self.path(path)).await
    }

    /// The value at a path, decoded from JSON, with its revision.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<Option<(T, Revision)>, StoreError> {
        let full = self.path(path);
        let Some(entry) = self.store.get(&full).await? else { return Ok(None) };
        Ok(Some((parse(&full, entry.value.expose())?, entry.revision)))
    }

    /// The value at a path, decoded from JSON once for all who ask until it changes, with its revision. For what most
    /// requests read; one path is always decoded as the same type.
    pub async fn shared_json<T>(&self, path: &str) -> Result<Option<(Arc<T>, Revision)>, StoreError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let full = self.path(path);
        let Some((shared, revision)) = self.store.shared(&full, decode::<T>).await? else { return Ok(None) };
        let reason = "it is read as two types".to_owned();
        let value = shared.downcast().map_err(|_| StoreError::Corrupt { path: full, reason })?;
        Ok(Some((value, revision)))
    }

    /// The revision that wrote the value at a path.
    pub async fn revision(&self, path: &str) -> Result<Option<Revision>, StoreError> {
        self.store.revision(&self.path(path)).await
    }

    /// See [`Store::mark`].
    pub fn mark(&self) -> Option<Mark> {
        self.store.mark()
    }

    /// See [`Store::is_unchanged`].
    pub fn is_unchanged(&self, mark: &Mark) -> bool {
        self.store.is_unchanged(mark)
    }

    /// Names directly below a folder of this window; see [`Store::list`].
    pub async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.store.list(&self.path(folder), after, limit).await
    }

    /// Number of keys below a folder of this window, at all depths; see [`Store::count`].
    pub async fn count(&self, folder: &str) -> Result<u64, StoreError> {
        self.store.count(&self.path(folder)).await
    }

    /// Sets a value, whatever was there.
    pub async fn put(&self, path: &str, value: SecretBytes) -> Result<Revision, StoreError> {
        let mut txn = Txn::new();
        txn.put(self.path(path), value);
        self.store.commit(txn).await
    }

    /// Sets a value as JSON, whatever was there.
    pub async fn put_json<T: Serialize>(&self, path: &str, value: &T) -> Result<Revision, StoreError> {
        let mut txn = Txn::new();
        txn.put_json(self.path(path), value)?;
        self.store.commit(txn).await
    }

    /// Removes a key; no error if it is not there.
    pub async fn delete(&self, path: &str) -> Result<Revision, StoreError> {
        let mut txn = Txn::new();
        txn.delete(self.path(path));
        self.store.commit(txn).await
    }

    /// The member of the cluster that writes here, if that is still sure; see [`Store::member`].
    pub fn member(&self) -> Option<String> {
        self.store.member()
    }

    /// Applies a transaction over full paths made by [`View::path`] of this or another window of the same store.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.store.commit(txn).await
    }
}

fn decode<T>(path: &str, plain: &[u8]) -> Result<Shared, StoreError>
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    Ok(Arc::new(parse::<T>(path, plain)?))
}

fn parse<T: DeserializeOwned>(path: &str, plain: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(plain)
        .map_err(|error| StoreError::Corrupt { path: path.to_owned(), reason: describe(&error) })
}

fn encode<T: Serialize>(path: &str, value: &T) -> Result<SecretBytes, StoreError> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(SecretBytes::new(bytes)),
        Err(error) => Err(StoreError::Encode { path: path.to_owned(), reason: describe(&error) }),
    }
}

/// serde_json's messages may quote content; only the category and place are told.
fn describe(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}
