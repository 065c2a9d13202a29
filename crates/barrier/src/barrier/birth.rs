//! The making of the keyring.
//!
//! Who initialises for people hands them keys once, in one answer. Until that answer is ready the record [`UNTOLD`] stands
//! beside the keyring: a process that dies before has told nobody, so the store counts as not initialised, and the next
//! initialisation takes the place of the one that was begun.

use holdfast_secret::SecretBytes;
use holdfast_storage::{Compare, Condition, Error, Op, Range, Revision, Txn};

use super::Barrier;
use crate::error::InitError;
use crate::keyring::{Keyring, root_key};
use crate::layout::{self, GENERATION, KEYRING};
use crate::names::DATA;
use crate::record::{self, Generation};
use crate::value::MacKey;
use crate::view::{Check, StoreError};

/// Name of the record outside the barrier that says that the keys were made and nobody was told them yet.
pub const UNTOLD: &str = "untold";

/// Keys that one transaction removes.
const OPS: usize = 100;

impl Barrier {
    /// Whether the store has a keyring whose keys were handed out.
    pub async fn initialized(&self) -> Result<bool, StoreError> {
        let (item, _) = self.storage.get(KEYRING).await.map_err(StoreError::from)?;
        Ok(item.is_some() && self.read_clear(UNTOLD).await?.is_none())
    }

    /// Makes the keyring, sealed under `root_key` (32 bytes). Of two at once, one is told [`InitError::AlreadyInitialized`].
    pub async fn initialize(&self, root_key: &SecretBytes) -> Result<(), InitError> {
        self.initialize_with(root_key, Vec::new()).await
    }

    /// As [`Barrier::initialize`]; `clear` are records outside the barrier (name, bytes) that are written in the same
    /// transaction: seal configuration, wrapped root key, markers. They are there if and only if the keyring is. With
    /// [`UNTOLD`] among them, [`Barrier::told`] must follow.
    pub async fn initialize_with(
        &self,
        root_key: &SecretBytes,
        clear: Vec<(String, Vec<u8>)>,
    ) -> Result<(), InitError> {
        match self.make_keyring(root_key, &clear, Compare::new(KEYRING, Condition::Absent)).await {
            Err(InitError::AlreadyInitialized) => {}
            made => return made.map(drop),
        }
        let Some((_, revision)) = self.read_clear(UNTOLD).await? else { return Err(InitError::AlreadyInitialized) };
        tracing::warn!("an initialization that was broken off is begun anew");
        let untold = Compare::new(layout::clear(UNTOLD), Condition::ModRevision(revision));
        let made = self.make_keyring(root_key, &clear, untold).await?;
        // Nothing of the other one can be written any more: its process holds another keyring.
        for prefix in [layout::MEMBERS, layout::LANES, DATA] {
            self.wipe(prefix, made).await?;
        }
        Ok(())
    }

    async fn make_keyring(
        &self,
        root_key: &SecretBytes,
        clear: &[(String, Vec<u8>)],
        condition: Compare,
    ) -> Result<Revision, InitError> {
        let key = self::root_key(root_key).ok_or(InitError::RootKeyLength)?;
        let keyring = Keyring::generate(&*self.entropy, self.clock.now());
        let stored = keyring.seal(&key, &*self.entropy).map_err(StoreError::from)?;
        let generation = Generation { term: keyring.active(), level: self.options.levels.newest };
        let generation = record::encode(&MacKey::new(&keyring), GENERATION, &generation);
        let mut then = vec![Op::put(KEYRING, stored.clone()), Op::put(GENERATION, generation)];
        if !clear.iter().any(|(name, _)| name == UNTOLD) {
            then.push(Op::delete(layout::clear(UNTOLD)));
        }
        then.extend(clear.iter().map(|(name, bytes)| Op::put(layout::clear(name), bytes.clone())));
        let txn = Txn { compares: vec![condition], then, otherwise: Vec::new() };
        match self.storage.txn(txn).await {
            Ok(reply) if reply.succeeded => Ok(reply.revision),
            Ok(_) => Err(InitError::AlreadyInitialized),
            // What is there tells whether it was done; if it is not, it could still come, and a repetition then meets it.
            Err(Error::Unknown(text)) => match self.storage.get(KEYRING).await {
                Ok((Some(item), _)) if item.value == stored => Ok(item.mod_revision),
                _ => Err(InitError::Store(StoreError::Unavailable(text))),
            },
            Err(error) => Err(InitError::Store(error.into())),
        }
    }

    /// Removes what another initialisation wrote, as long as the keyring is the one of this revision.
    async fn wipe(&self, prefix: &'static [u8], keyring: Revision) -> Result<(), StoreError> {
        loop {
            let page = self.storage.range(Range::prefix(prefix).limit(OPS).keys_only()).await?;
            let then: Vec<Op> = page.items.iter().map(|item| Op::delete(item.key.clone())).collect();
            if then.is_empty() {
                return Ok(());
            }
            let compares = vec![Compare::new(KEYRING, Condition::ModRevision(keyring))];
            if !self.storage.txn(Txn { compares, then, otherwise: Vec::new() }).await?.succeeded {
                return Err(StoreError::Conflict);
            }
        }
    }

    /// The answer with the keys is about to leave: from here on the store is initialised for good. `mark` is what was
    /// written as [`UNTOLD`]; [`StoreError::Conflict`] if somebody else has begun anew.
    pub async fn told(&self, mark: &[u8]) -> Result<(), StoreError> {
        match self.read_clear(UNTOLD).await? {
            Some((bytes, revision)) if bytes == mark => {
                self.write_clear(UNTOLD, None, Some(Check::At(revision))).await.map(drop)
            }
            _ => Err(StoreError::Conflict),
        }
    }
}
