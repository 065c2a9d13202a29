//! User lockout: who fails to log in too often waits (Vault's user lockout; userpass, ldap and approle).
//!
//! The core counts, not the methods: a method tells whose login a request is ([`Backend::login_alias`], in the one form
//! that it looks users up by) and says [`Logical::Credentials`] when it was refused for its credentials. The count is
//! stored under the mount's uuid and changed by compare, so that no replica loses a failure of another, and a login
//! that succeeds writes nothing unless failures are stored.
//!
//! On one replica no more attempts run at a time than failures are left, so a burst tests no more passwords than the
//! threshold; replicas that are asked in the same moment may each test as many, once.

mod settings;
mod turns;

use std::{sync::Arc, time::Duration};

use holdfast_base::{Clock, Timestamp};
use holdfast_identity::LONGEST_NAME;
use holdfast_logical::{Backend, Check, Error as Logical, Request, Response, Revision, StoreError, Txn, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::settings::{KINDS, LOCKOUT, LockoutTuning, Lockouts, Settings};
use self::turns::{Attempt, Turns};
use crate::mounts::Mounted;

/// The failures of all users.
pub struct Lockout {
    view: View,
    clock: Arc<dyn Clock>,
    lockouts: Lockouts,
    turns: Turns,
}

/// The failures of one user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failures {
    /// As the method names the user.
    pub alias: String,
    /// In a row.
    pub count: u64,
    /// When the last one was.
    pub last: Timestamp,
}

/// How an attempt ended.
#[derive(Clone, Copy)]
enum Ending {
    /// Wrong credentials.
    Refused,
    /// There is a token.
    Granted,
    /// Neither was found out.
    Other,
}

/// Who tries to log in where.
struct User<'u> {
    backend: &'u dyn Backend,
    /// Uuid of the mount.
    mount: &'u str,
    alias: String,
    /// Of the record.
    key: String,
    settings: Settings,
}

/// Attempts before a busy record is reported as such.
const ATTEMPTS: usize = 32;

impl Lockout {
    /// The failures below `view` (`lockout/`).
    pub fn new(view: View, clock: Arc<dyn Clock>, lockouts: Lockouts) -> Self {
        Self { view, clock, lockouts, turns: Turns::default() }
    }

    /// What is in force for a mount; `None` where nobody is locked out.
    pub fn settings(&self, mounted: &Mounted) -> Option<Settings> {
        self.lockouts.settings(&mounted.record.kind, mounted.record.tuning.lockout.as_ref())
    }

    /// Runs a request that may be a login: refuses it with 403 while the user is locked out, and counts how it ends.
    pub async fn guarded(
        &self,
        mounted: &Mounted,
        backend: &dyn Backend,
        request: Request,
    ) -> Result<Response, Logical> {
        let Some(settings) = self.settings(mounted) else { return backend.handle(request).await };
        let Some(alias) = backend.login_alias(&request).await? else { return backend.handle(request).await };
        if alias.len() > LONGEST_NAME {
            return Err(Logical::invalid(format!(
                "the login name is longer than {LONGEST_NAME} bytes: use a shorter one"
            )));
        }
        let mount = mounted.record.uuid.as_str();
        let user = User { backend, mount, key: key(mount, &alias), alias, settings };
        let seat = self.turns.seat(&user.key);
        let failures = || async {
            // Others may have failed since this request began.
            holdfast_barrier::look_anew();
            Ok(self.read(&user.key, settings).await?.map_or(0, |(failures, _)| failures.count))
        };
        match seat.slot().admit(settings.threshold, failures).await {
            Ok(Some(attempt)) => {
                let outcome = backend.handle(request).await;
                let counted = self.ended(&user, attempt, Ending::of(&outcome)).await;
                counted.and(outcome)
            }
            Ok(None) => Err(Logical::Denied("permission denied".to_owned())),
            Err(error) => Err(StoreError::into(error)),
        }
    }

    async fn ended(&self, user: &User<'_>, attempt: Attempt<'_>, ending: Ending) -> Result<(), Logical> {
        let _turn = attempt.slot().turn.lock().await;
        let stored = match ending {
            Ending::Refused => self.fail(user).await,
            Ending::Granted => self.forget(&user.key).await.map_err(Logical::from),
            Ending::Other => Ok(()),
        };
        drop(attempt);
        stored
    }

    /// Failures that still count, and the revision of their record.
    async fn read(&self, key: &str, settings: Settings) -> Result<Option<(Failures, Revision)>, StoreError> {
        let found = self.view.get_json::<Failures>(key).await?;
        Ok(found.filter(|(failures, _)| failures.counts(self.clock.now(), settings)))
    }

    async fn fail(&self, user: &User<'_>) -> Result<(), Logical> {
        let User { key, settings, .. } = user;
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let stored = self.view.get_json::<Failures>(key).await?;
            if stored.is_none() && !self.has_room(user).await? {
                return Ok(());
            }
            let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let before = stored
                .filter(|(failures, _)| failures.counts(now, *settings))
                .map_or(0, |(failures, _)| failures.count);
            let failures = Failures { alias: user.alias.clone(), count: before + 1, last: now };
            let mut txn = Txn::new();
            txn.check(self.view.path(key), check).put_json(self.view.path(key), &failures)?;
            match self.view.commit(txn).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// May one more record be stored? Made-up names must not fill the store; nobody who is there is left unprotected.
    async fn has_room(&self, user: &User<'_>) -> Result<bool, Logical> {
        if user.backend.knows_alias(&user.alias).await? {
            return Ok(true);
        }
        let most = self.lockouts.records;
        Ok(self.view.below(user.mount).list("", "", most).await?.len() < most)
    }

    async fn forget(&self, key: &str) -> Result<(), StoreError> {
        match self.view.get(key).await? {
            Some(_) => self.view.delete(key).await.map(drop),
            None => Ok(()),
        }
    }

    /// The users of a mount that are locked out now, sorted.
    pub async fn locked(&self, mounted: &Mounted) -> Result<Vec<String>, StoreError> {
        let Some(settings) = self.settings(mounted) else { return Ok(Vec::new()) };
        let mut locked = Vec::new();
        for failures in self.of(mounted).await? {
            if failures.count >= settings.threshold && failures.counts(self.clock.now(), settings) {
                locked.push(failures.alias);
            }
        }
        locked.sort();
        Ok(locked)
    }

    /// Forgets the failures of a user.
    pub async fn unlock(&self, mounted: &Mounted, alias: &str) -> Result<(), StoreError> {
        self.forget(&key(&mounted.record.uuid, alias)).await
    }

    /// Removes what does not count any more.
    pub async fn tidy(&self, mounted: &Mounted) -> Result<(), StoreError> {
        let settings = self.settings(mounted);
        for failures in self.of(mounted).await? {
            if settings.is_none_or(|settings| !failures.counts(self.clock.now(), settings)) {
                self.forget(&key(&mounted.record.uuid, &failures.alias)).await?;
            }
        }
        Ok(())
    }

    /// Removes all that is stored for a mount that is gone.
    pub async fn wipe(&self, uuid: &str) -> Result<(), StoreError> {
        crate::storage::wipe(&self.view.below(uuid)).await
    }

    async fn of(&self, mounted: &Mounted) -> Result<Vec<Failures>, StoreError> {
        let view = self.view.below(&mounted.record.uuid);
        let mut all = Vec::new();
        for name in view.list("", "", 0).await? {
            all.extend(view.get_json::<Failures>(&name).await?.map(|(failures, _)| failures));
        }
        Ok(all)
    }
}

impl Ending {
    fn of(outcome: &Result<Response, Logical>) -> Self {
        match outcome {
            Err(Logical::Credentials(_)) => Self::Refused,
            Ok(response) if response.grant.is_some() => Self::Granted,
            _ => Self::Other,
        }
    }
}

impl Failures {
    /// Do they count at this moment? They do until the lock ends, or until it is long enough since the last one.
    fn counts(&self, now: Timestamp, settings: Settings) -> bool {
        let age = Duration::try_from(now.duration_since(self.last)).unwrap_or_default();
        let keep = if self.count >= settings.threshold { settings.duration } else { settings.counter_reset };
        age < keep
    }
}

/// A name has any length and any characters; its hash has not.
fn key(uuid: &str, alias: &str) -> String {
    format!("{uuid}/{}", hex::encode(Sha256::digest(alias.as_bytes())))
}
