//! Unsealing: by shares that people give, or by the stored root key.

mod token;

use holdfast_api_types::SealStatus;
use holdfast_barrier::UnsealError;
use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Revision, StoreError};
use holdfast_seal::{Collector, Progress};
use holdfast_secret::SecretBytes;

use super::{Attempt, ROOT_KEY, decode_key, keyholders};
use crate::{Core, Error, Raw, open::Open};

impl Core {
    /// `PUT sys/unseal`: takes one share, or forgets those that were given. Where a seal keeps the key, a token with `sudo`
    /// on the path does instead of recovery shares.
    pub(super) async fn take_share(&self, key: Option<&str>, reset: bool, raw: &Raw) -> Result<SealStatus, Error> {
        let mut refused = false;
        let outcome = self.take_proof(key, reset, raw, &mut refused).await;
        if refused {
            self.slow_down(raw).await;
        }
        outcome
    }

    /// `refused` tells that the barrier was opened for nothing.
    async fn take_proof(
        &self,
        key: Option<&str>,
        reset: bool,
        raw: &Raw,
        refused: &mut bool,
    ) -> Result<SealStatus, Error> {
        let key = key.filter(|key| !key.is_empty());
        let mut ceremony = self.ceremony.lock().await;
        if reset {
            if self.is_unsealed() {
                return Err(Error::invalid("reset is not possible while unsealed"));
            }
            ceremony.unseal = None;
            drop(ceremony);
            return self.seal_status().await;
        }
        if !self.is_unsealed() && self.config().barrier.restore_in_progress().await?.is_some() {
            return Err(Error::invalid(
                "a snapshot is being restored: this server goes on with it and can be unsealed then",
            ));
        }
        if let Some(token) = self.token_to_try(raw, key.is_some())? {
            if self.unseal_by_token(raw, token).await? {
                ceremony.unseal = None;
                drop(ceremony);
                return self.seal_status().await;
            }
            *refused = true;
        }
        let Some(key) = key else {
            return Err(Error::invalid("'key' must be specified in request body as JSON, or 'reset' set to true"));
        };
        let key = decode_key(key)?;
        if self.is_unsealed() {
            drop(ceremony);
            return self.seal_status().await;
        }
        let Some(config) = self.seal_config().await? else { return Err(Error::NotInitialized) };
        let stored = self.config().seal.stored_keys();
        if stored && !self.is_held().await? {
            // It is about to open itself; what was given only says that somebody does not want to wait.
            drop(ceremony);
            self.unseal_with_stored_key().await?;
            self.release().await?;
            return self.seal_status().await;
        }
        if stored && config.recovery_threshold == 0 {
            return Err(Error::invalid(
                "this server was sealed by a request and has no recovery keys: unseal with a token that has sudo on sys/unseal",
            ));
        }
        let entropy = &self.config().entropy;
        let attempt = ceremony.unseal.get_or_insert_with(|| Attempt {
            nonce: id::uuid(entropy.as_ref()),
            shares: Collector::new(if stored { config.recovery_threshold } else { config.threshold }),
        });
        match attempt.shares.add(key) {
            Ok(Progress::Waiting(_)) => {}
            Ok(Progress::Complete(key)) => {
                ceremony.unseal = None;
                if stored {
                    *refused = !self.unseal_for(&key).await?;
                    if *refused {
                        return Err(Error::invalid("Unseal failed, invalid key"));
                    }
                } else {
                    self.config().barrier.unseal(key).await.map_err(error)?;
                }
                self.activate().await?;
                self.release().await?;
            }
            Err(error) => {
                if attempt.shares.count() == 0 {
                    ceremony.unseal = None;
                }
                return Err(Error::invalid(format!("Unseal failed, invalid key: {error}")));
            }
        }
        drop(ceremony);
        self.seal_status().await
    }

    /// Unseals with the root key that the seal keeps. Nothing happens if it is open.
    pub(crate) async fn unseal_with_stored_key(&self) -> Result<(), Error> {
        let _ceremony = self.ceremony.lock().await;
        if self.is_unsealed() {
            return Ok(());
        }
        self.open_barrier().await?;
        self.activate().await?;
        Ok(())
    }

    /// Opens the barrier for the holders of the recovery key. Whoever sealed the server by a request wants it sealed: the
    /// key that the seal keeps must not undo that for just anybody. Nothing is served meanwhile. `false`: they are not.
    async fn unseal_for(&self, recovery: &SecretBytes) -> Result<bool, Error> {
        self.open_barrier().await?;
        let held = match Open::load(std::sync::Weak::new(), self.shared_config()).await {
            Ok(open) => keyholders::holds(&open, recovery).await,
            Err(error) => Err(error.into()),
        };
        if !matches!(held, Ok(true)) {
            self.config().barrier.seal().await;
        }
        held
    }

    async fn open_barrier(&self) -> Result<(), Error> {
        let (barrier, seal) = (&self.config().barrier, &self.config().seal);
        let Some((wrapped, revision)) = barrier.read_clear(ROOT_KEY).await? else {
            return Err(Error::NotInitialized);
        };
        let key: SecretBytes = seal.unwrap(&wrapped).await.map_err(|error| Error::internal(error.to_string()))?;
        barrier.unseal(key.duplicate()).await.map_err(error)?;
        failpoint!("unseal.barrier-open").await;
        if seal.is_outdated(&wrapped) {
            // It serves in any case; the next unseal tries again.
            match self.wrap_again(&key, revision).await {
                Ok(()) => tracing::info!("the root key is wrapped under the current seal key: the previous one can go"),
                Err(error) => {
                    tracing::warn!(%error, "the root key still needs the previous seal key: keep that, restart to try again");
                }
            }
        }
        Ok(())
    }

    /// Replaces the stored root key, which was of this revision, by one under the current key of the seal.
    async fn wrap_again(&self, key: &SecretBytes, revision: Revision) -> Result<(), Error> {
        let (barrier, seal) = (&self.config().barrier, &self.config().seal);
        let wrapped = seal.wrap(key).await.map_err(|error| Error::internal(error.to_string()))?;
        match barrier.write_clear(ROOT_KEY, Some(wrapped), Some(Check::At(revision))).await {
            Ok(_) => Ok(()),
            // Another replica has the same keys and was faster. Or it has others: then it stays as it made it.
            Err(StoreError::Conflict) => match barrier.read_clear(ROOT_KEY).await? {
                Some((now, _)) if !seal.is_outdated(&now) => Ok(()),
                _ => Err(StoreError::Conflict.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn error(error: UnsealError) -> Error {
    match error {
        UnsealError::NotInitialized => Error::NotInitialized,
        UnsealError::WrongKey => Error::invalid("Unseal failed, invalid key"),
        UnsealError::Damaged(_) => Error::internal(error.to_string()),
        UnsealError::Store(error) => error.into(),
    }
}
