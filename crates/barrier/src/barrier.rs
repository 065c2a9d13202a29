//! [`Barrier`]: the encrypted key space of one process, sealed or open.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_base::{Clock, Entropy, Timestamp};
use holdfast_secret::SecretBytes;
use holdfast_storage::{Compare, Condition, Op, Storage, Txn as StorageTxn};

use crate::direct::Direct;
use crate::keyring::{Keyring, KeyringError, root_key};
use crate::view::{Check, Entry, Revision, Store, StoreError, Txn};

const KEYRING: &[u8] = b"keyring";
const CLEAR: &[u8] = b"clear/";

/// The encrypted key space. Made sealed; [`Barrier::unseal`] brings the keys into memory.
pub struct Barrier {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    open: ArcSwapOption<Direct>,
    /// Held while sealing, unsealing, rotating.
    transition: tokio::sync::Mutex<()>,
}

/// Why a store was not initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a keyring already, perhaps since a moment ago.
    #[error("already initialized")]
    AlreadyInitialized,
    /// The root key does not have 32 bytes.
    #[error("the root key must have 32 bytes")]
    RootKeyLength,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the barrier stays sealed.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// There is no keyring.
    #[error("not initialized")]
    NotInitialized,
    /// The root key is not the one of this keyring.
    #[error("the root key is wrong")]
    WrongKey,
    /// The keyring cannot be read.
    #[error("the keyring is damaged: {0}")]
    Damaged(String),
    /// The store did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The key that encrypts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its number, from 1.
    pub term: u32,
    /// When it was installed.
    pub install_time: Timestamp,
    /// Values that this process has encrypted under it since it was unsealed.
    pub encryptions: u64,
}

impl Barrier {
    /// A sealed barrier over a store. Reads nothing yet.
    pub fn open(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        let transition = tokio::sync::Mutex::new(());
        Arc::new(Self { storage, clock, entropy, open: ArcSwapOption::empty(), transition })
    }

    /// Whether the store has a keyring.
    pub async fn initialized(&self) -> Result<bool, StoreError> {
        let (item, _) = self.storage.get(KEYRING).await.map_err(StoreError::from)?;
        Ok(item.is_some())
    }

    /// Makes the keyring, sealed under `root_key` (32 bytes). Of two at once, one is told [`InitError::AlreadyInitialized`].
    pub async fn initialize(&self, root_key: &SecretBytes) -> Result<(), InitError> {
        self.initialize_with(root_key, Vec::new()).await
    }

    /// As [`Barrier::initialize`]; `clear` are records outside the barrier (name, bytes) that are written in the same
    /// transaction: seal configuration, wrapped root key, markers. They are there if and only if the keyring is.
    pub async fn initialize_with(
        &self,
        root_key: &SecretBytes,
        clear: Vec<(String, Vec<u8>)>,
    ) -> Result<(), InitError> {
        let key = self::root_key(root_key).ok_or(InitError::RootKeyLength)?;
        let keyring = Keyring::generate(&*self.entropy, self.clock.now());
        let stored = keyring.seal(&key, &*self.entropy).map_err(corrupt)?;
        let mut then = vec![Op::put(KEYRING, stored.clone())];
        then.extend(clear.into_iter().map(|(name, bytes)| Op::put(clear_key(&name), bytes)));
        let compares = vec![Compare::new(KEYRING, Condition::Absent)];
        let txn = StorageTxn { compares, then, otherwise: Vec::new() };
        match self.storage.txn(txn).await {
            Ok(reply) if reply.succeeded => Ok(()),
            Ok(_) => Err(InitError::AlreadyInitialized),
            Err(error) => Err(InitError::Store(error.into())),
        }
    }

    /// Opens the keyring and starts to serve. Nothing happens if it is open already.
    pub async fn unseal(&self, root_key: SecretBytes) -> Result<(), UnsealError> {
        let _transition = self.transition.lock().await;
        let key = self::root_key(&root_key).ok_or(UnsealError::WrongKey)?;
        let (item, _) = self.storage.get(KEYRING).await.map_err(StoreError::from)?;
        let item = item.ok_or(UnsealError::NotInitialized)?;
        let keyring = Keyring::open(&key, &item.value).map_err(|error| match error {
            KeyringError::WrongKey => UnsealError::WrongKey,
            KeyringError::Damaged(reason) => UnsealError::Damaged(reason.to_owned()),
        })?;
        let open = Direct::new(self.storage.clone(), self.entropy.clone(), keyring);
        self.open.store(Some(Arc::new(open)));
        Ok(())
    }

    /// Forgets all keys. Requests get [`StoreError::Sealed`] from here on.
    pub async fn seal(&self) {
        let _transition = self.transition.lock().await;
        self.open.store(None);
    }

    /// Whether the keys are not in memory.
    pub fn is_sealed(&self) -> bool {
        self.open.load().is_none()
    }

    /// A key of 32 bytes that follows from the keyring and a label, the same on all replicas and after rotation.
    pub fn derive_key(&self, label: &str) -> Result<SecretBytes, StoreError> {
        let mut key = vec![0u8; 32];
        self.session()?.keyring().derive(&format!("derived/{label}"), &mut key);
        Ok(SecretBytes::new(key))
    }

    /// The key that encrypts now; `None` when sealed.
    pub fn key_status(&self) -> Option<KeyStatus> {
        let open = self.open.load_full()?;
        let keyring = open.keyring();
        let term = keyring.active();
        let install_time = keyring.term(term)?.install_time;
        Some(KeyStatus { term, install_time, encryptions: open.encryptions() })
    }

    /// Reads a record outside the barrier, with its revision. Works sealed.
    pub async fn read_clear(&self, name: &str) -> Result<Option<(Vec<u8>, Revision)>, StoreError> {
        let (item, _) = self.storage.get(&clear_key(name)).await?;
        Ok(item.map(|item| (item.value.to_vec(), item.mod_revision)))
    }

    /// Writes a record outside the barrier if the check holds, else [`StoreError::Conflict`]; `None` deletes it. Works sealed.
    /// What is written here is readable by whoever reads the store.
    pub async fn write_clear(
        &self,
        name: &str,
        bytes: Option<Vec<u8>>,
        check: Option<Check>,
    ) -> Result<Revision, StoreError> {
        let key = clear_key(name);
        let compares = check.map(|check| Compare::new(key.clone(), condition(check))).into_iter().collect();
        let op = match bytes {
            Some(bytes) => Op::put(key, bytes),
            None => Op::delete(key),
        };
        let reply = self.storage.txn(StorageTxn { compares, then: vec![op], otherwise: Vec::new() }).await?;
        if reply.succeeded { Ok(reply.revision) } else { Err(StoreError::Conflict) }
    }

    fn session(&self) -> Result<Arc<Direct>, StoreError> {
        self.open.load_full().ok_or(StoreError::Sealed)
    }
}

#[async_trait]
impl Store for Barrier {
    async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        self.session()?.get(path).await
    }

    async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.session()?.list(folder, after, limit).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.session()?.commit(txn).await
    }
}

impl From<holdfast_storage::Error> for StoreError {
    fn from(error: holdfast_storage::Error) -> Self {
        use holdfast_storage::Error;
        match error {
            Error::NoSpace => Self::NoSpace,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// The condition of the store that a check is.
pub(crate) fn condition(check: Check) -> Condition {
    match check {
        Check::Absent => Condition::Absent,
        Check::Exists => Condition::Exists,
        Check::At(revision) => Condition::ModRevision(revision),
    }
}

fn clear_key(name: &str) -> Bytes {
    [CLEAR, name.as_bytes()].concat().into()
}

fn corrupt(error: KeyringError) -> StoreError {
    StoreError::Corrupt { path: "keyring".to_owned(), reason: error.to_string() }
}
