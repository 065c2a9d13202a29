//! The keys of an open barrier, and from which revisions of the store they are.

use std::sync::Arc;

use holdfast_storage::KeyValue;
use zeroize::Zeroizing;

use crate::keyring::{Keyring, KeyringError};
use crate::layout::GENERATION;
use crate::names::Names;
use crate::record::{self, Generation};
use crate::value::MacKey;
use crate::view::Revision;
use crate::xaes::{KEY, NONCE, Xaes};

/// Everything needed to read and write, as of one revision. Replaced as a whole.
pub struct Keys {
    /// Unwraps the keyring.
    pub root: Zeroizing<[u8; KEY]>,
    /// Terms and base key.
    pub keyring: Keyring,
    /// Encrypts names; the same for ever.
    pub names: Arc<Names>,
    /// Authenticates headers and records; the same for ever.
    pub mac: Arc<MacKey>,
    /// `mod_revision` of the keyring.
    pub keyring_revision: Revision,
    /// `mod_revision` of the generation record, which every batch compares.
    pub generation: Revision,
    /// Feature level of that record.
    pub level: u8,
}

impl Keys {
    /// Opens a stored keyring; `generation` is the record that stands beside it.
    pub fn open(root: Zeroizing<[u8; KEY]>, keyring: &KeyValue, generation: &KeyValue) -> Result<Self, KeyringError> {
        let keys = Self::of(root, keyring)?;
        let level = keys.level_of(generation).ok_or(KeyringError::Damaged("its generation record is not authentic"))?;
        Ok(Self { generation: generation.mod_revision, level, ..keys })
    }

    fn of(root: Zeroizing<[u8; KEY]>, stored: &KeyValue) -> Result<Self, KeyringError> {
        let keyring = Keyring::open(&root, &stored.value)?;
        let mut key = Zeroizing::new([0u8; 64]);
        keyring.derive("names", key.as_mut_slice());
        let (names, mac) = (Arc::new(Names::new(&key)), Arc::new(MacKey::new(&keyring)));
        Ok(Self { root, keyring, names, mac, keyring_revision: stored.mod_revision, generation: 0, level: 0 })
    }

    /// The keys after the stored keyring changed, and perhaps the generation record; `succession` is what stands beside it if
    /// the root key changed too.
    pub fn follow(
        &self,
        keyring: &KeyValue,
        generation: Option<&KeyValue>,
        succession: Option<&[u8]>,
    ) -> Result<Self, KeyringError> {
        let keys = match (Self::of(self.root.clone(), keyring), succession) {
            (Err(KeyringError::WrongKey), Some(sealed)) => Self::of(open_succession(&self.root, sealed)?, keyring)?,
            (result, _) => result?,
        };
        let keys = Self { generation: self.generation, level: self.level, ..keys };
        Ok(match generation {
            Some(item) => keys.at_generation(item),
            None => keys,
        })
    }

    /// The same keys under another generation record.
    pub fn at_generation(&self, generation: &KeyValue) -> Self {
        let level = self.level_of(generation).unwrap_or_else(|| {
            tracing::error!("the generation record in the store is not authentic; the feature level stays");
            self.level
        });
        Self { generation: generation.mod_revision, level, ..self.duplicate() }
    }

    fn level_of(&self, generation: &KeyValue) -> Option<u8> {
        record::decode::<Generation>(&self.mac, GENERATION, &generation.value).map(|record| record.level)
    }

    fn duplicate(&self) -> Self {
        Self {
            root: self.root.clone(),
            keyring: self.keyring.duplicate(),
            names: self.names.clone(),
            mac: self.mac.clone(),
            ..*self
        }
    }
}

/// A new root key sealed under the old one, for those who have the old one in memory.
pub fn seal_succession(old: &[u8; KEY], new: &[u8; KEY], nonce: &[u8; NONCE]) -> Result<Vec<u8>, KeyringError> {
    let sealed = Xaes::new(old).seal(nonce, SUCCESSION_AAD, new).map_err(|_| KeyringError::Damaged("succession"))?;
    Ok([&nonce[..], &sealed].concat())
}

const SUCCESSION_AAD: &[u8] = b"holdfast succession 1";

/// One seal of a new root key.
const SEALED: usize = NONCE + KEY + 16;

/// The root key that an older one was replaced by. `stored` is one or several of [`seal_succession`], one after the other.
pub fn open_succession(old: &[u8; KEY], stored: &[u8]) -> Result<Zeroizing<[u8; KEY]>, KeyringError> {
    let opened = stored.chunks(SEALED).find_map(|one| {
        let (nonce, sealed) = one.split_first_chunk::<NONCE>()?;
        Xaes::new(old).open(nonce, SUCCESSION_AAD, sealed).ok()
    });
    let plain = opened.ok_or(KeyringError::WrongKey)?;
    let key = <[u8; KEY]>::try_from(plain.as_slice()).map_err(|_| KeyringError::WrongKey)?;
    Ok(Zeroizing::new(key))
}
