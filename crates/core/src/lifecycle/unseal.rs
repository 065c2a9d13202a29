//! Unsealing: by shares that people give, or by the stored root key.

mod token;

use holdfast_api_types::SealStatus;
use holdfast_barrier::UnsealError;
use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Revision, StoreError};
use holdfast_seal::{Collector, Progress};
use holdfast_secret::SecretBytes;

use super::{Attempt, ROOT_KEY, decode_key, keyholders, migrate::Migration};
use crate::{Core, Error, Raw, open::Open};

/// What a request to unseal brings.
pub(super) struct Given<'r> {
    /// A share.
    pub key: Option<&'r str>,
    /// Forget what was given so far.
    pub reset: bool,
    /// It is for a change of seals.
    pub migrate: bool,
}

impl Core {
    /// `PUT sys/unseal`: takes one share, or forgets those that were given. Where a seal keeps the key, a token with `sudo`
    /// on the path does instead of recovery shares.
    pub(super) async fn take_share(&self, given: Given<'_>, raw: &Raw) -> Result<SealStatus, Error> {
        let mut refused = false;
        let outcome = self.take_proof(given, raw, &mut refused).await;
        if refused {
            self.slow_down(raw).await;
        }
        outcome
    }

    /// `refused` tells that the barrier was opened for nothing.
    async fn take_proof(&self, given: Given<'_>, raw: &Raw, refused: &mut bool) -> Result<SealStatus, Error> {
        let key = given.key;
        let mut ceremony = self.ceremony.lock().await;
        if given.reset {
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
        let migration = self.asked_migration(given.migrate).await?;
        if migration.is_none()
            && let Some(token) = self.token_to_try(raw, key.is_some())?
        {
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
        let stored = config.keeps_key();
        if stored && migration.is_none() && !self.is_held().await? {
            // It is about to open itself; what was given only says that somebody does not want to wait.
            drop(ceremony);
            self.unseal_with_stored_key().await?;
            self.release().await?;
            return self.seal_status().await;
        }
        if stored && config.recovery_threshold == 0 {
            return Err(Error::invalid(match migration {
                None => {
                    "this server was sealed by a request and has no recovery keys: unseal with a token that has sudo on sys/unseal"
                }
                Some(_) => {
                    "there are no recovery keys to change the seal with: start with the old seal, and make some (operator rekey -target=recovery)"
                }
            }));
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
                let opened = match migration {
                    Some(migration) => self.migrate(migration, &key, &config).await?,
                    None if stored => self.unseal_for(&key).await?,
                    None => self.config().barrier.unseal(key).await.map(|()| true).map_err(error)?,
                };
                *refused = !opened;
                if *refused {
                    return Err(Error::invalid("Unseal failed, invalid key"));
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

    /// The change of seals that is pending, if it was asked for; an error if one is and the other is not.
    async fn asked_migration(&self, asked: bool) -> Result<Option<Migration>, Error> {
        let Some(stored) = self.seal_config().await?.filter(|_| !self.is_unsealed()) else { return Ok(None) };
        match (self.migration(&stored).await?, asked) {
            (None, true) => Err(Error::invalid("can't perform a seal migration, no migration seal found")),
            (Some(_), false) => Err(Error::invalid("migrate option not provided and seal migration is pending")),
            (migration, _) => Ok(migration),
        }
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
        self.is_held_by(recovery).await
    }

    /// Is this the recovery key? The barrier is open for the question, and sealed again if not.
    pub(super) async fn is_held_by(&self, recovery: &SecretBytes) -> Result<bool, Error> {
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
        UnsealError::Damaged(_) | UnsealError::Level { .. } => Error::internal(error.to_string()),
        UnsealError::Store(error) => error.into(),
    }
}
