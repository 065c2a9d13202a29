//! Changing the seal: the configuration names another one than the store was sealed with, and people bring the shares of the
//! old one.
//!
//! From shares to a kept key, a new root key takes the place of the one that the shares combine to, and the shares become
//! recovery shares. The other way the recovery shares become unseal shares, and what they combine to the root key. Both are
//! one transaction: after a crash the store has the old seal or the new one.

use holdfast_logical::Check;
use holdfast_seal::Seal;
use holdfast_secret::SecretBytes;

use super::{ROOT_KEY, SEAL_CONFIG, SealConfig, keyholders, rekey::replace_root_key, unseal};
use crate::{Core, Error};

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migration {
    /// People held the root key; from now on a seal keeps it.
    ToKept,
    /// A seal kept the root key; from now on people hold it.
    ToShares,
    /// Another seal keeps it from now on.
    Between,
}

impl Core {
    /// The change of seals that a sealed server waits for.
    pub(crate) async fn migration(&self, stored: &SealConfig) -> Result<Option<Migration>, Error> {
        let config = self.config();
        Ok(match (stored.keeps_key(), config.seal.stored_keys()) {
            _ if self.is_unsealed() => None,
            (false, false) => None,
            (false, true) => Some(Migration::ToKept),
            (true, false) => Some(Migration::ToShares),
            (true, true) => {
                let Some(previous) = &config.previous_seal else { return Ok(None) };
                let Some((wrapped, _)) = config.barrier.read_clear(ROOT_KEY).await? else { return Ok(None) };
                let moved = config.seal.unwrap(&wrapped).await.is_ok() || previous.unwrap(&wrapped).await.is_err();
                (!moved).then_some(Migration::Between)
            }
        })
    }

    /// Opens the store with what the old seal needs, and changes it. `Ok(false)`: these are not the right shares.
    pub(super) async fn migrate(
        &self,
        migration: Migration,
        given: &SecretBytes,
        stored: &SealConfig,
    ) -> Result<bool, Error> {
        let barrier = &self.config().barrier;
        match migration {
            Migration::ToKept => barrier.unseal(given.duplicate()).await.map_err(unseal::error)?,
            Migration::ToShares | Migration::Between => {
                barrier.unseal(self.kept_by_previous().await?).await.map_err(unseal::error)?;
                if !self.is_held_by(given).await? {
                    return Ok(false);
                }
            }
        }
        let outcome = self.change_seal(migration, given, stored).await;
        if outcome.is_err() {
            barrier.seal().await;
        }
        outcome?;
        tracing::warn!(from = stored.kind, to = self.config().seal.kind(), "the seal was changed");
        Ok(true)
    }

    /// The root key as the seal keeps it that the configuration calls disabled.
    async fn kept_by_previous(&self) -> Result<SecretBytes, Error> {
        let config = self.config();
        let previous = config.previous_seal.as_ref().ok_or_else(|| {
            Error::invalid("a seal keeps the root key: leave its stanza in the configuration, with disabled = \"true\"")
        })?;
        let (wrapped, _) = config.barrier.read_clear(ROOT_KEY).await?.ok_or(Error::NotInitialized)?;
        previous.unwrap(&wrapped).await.map_err(|error| Error::internal(error.to_string()))
    }

    async fn change_seal(&self, migration: Migration, given: &SecretBytes, stored: &SealConfig) -> Result<(), Error> {
        let (barrier, seal) = (&self.config().barrier, &self.config().seal);
        match migration {
            Migration::ToKept => {
                let key = self.fresh_key();
                let wrapped = wrap(seal.as_ref(), &key).await?;
                let now = SealConfig {
                    kind: seal.kind().to_owned(),
                    shares: 1,
                    threshold: 1,
                    recovery_shares: stored.shares,
                    recovery_threshold: stored.threshold,
                    recovery_check: keyholders::recovery_check(barrier, given, stored.shares, stored.threshold)?,
                };
                let records = vec![(ROOT_KEY.to_owned(), wrapped), (SEAL_CONFIG.to_owned(), now.encode()?)];
                replace_root_key(barrier, &key, records).await
            }
            Migration::ToShares => {
                let now = SealConfig {
                    kind: seal.kind().to_owned(),
                    shares: stored.recovery_shares,
                    threshold: stored.recovery_threshold,
                    recovery_shares: 0,
                    recovery_threshold: 0,
                    recovery_check: String::new(),
                };
                replace_root_key(barrier, given, vec![(SEAL_CONFIG.to_owned(), now.encode()?)]).await?;
                // It opens nothing any more; left behind by a crash it does no harm.
                barrier.write_clear(ROOT_KEY, None, None).await?;
                Ok(())
            }
            Migration::Between => {
                let (_, revision) = barrier.read_clear(ROOT_KEY).await?.ok_or(Error::NotInitialized)?;
                let wrapped = wrap(seal.as_ref(), &self.kept_by_previous().await?).await?;
                barrier.write_clear(ROOT_KEY, Some(wrapped), Some(Check::At(revision))).await?;
                Ok(())
            }
        }
    }

    /// A new root or recovery key.
    pub(super) fn fresh_key(&self) -> SecretBytes {
        let mut key = vec![0u8; holdfast_seal::ROOT_KEY];
        self.config().entropy.fill(&mut key);
        SecretBytes::new(key)
    }
}

/// Wraps a root key, and sees that it comes back.
pub(super) async fn wrap(seal: &dyn Seal, key: &SecretBytes) -> Result<Vec<u8>, Error> {
    let failed = |error: holdfast_seal::Error| Error::internal(error.to_string());
    let wrapped = seal.wrap(key).await.map_err(failed)?;
    if seal.unwrap(&wrapped).await.map_err(failed)? != *key {
        return Err(Error::internal("the seal does not give back what it wrapped; nothing was changed"));
    }
    Ok(wrapped)
}
