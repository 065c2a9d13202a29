//! Intents that did not become leases: taken back at once where that can be done, and swept afterwards.
//!
//! A maker that was paused may still act after it was given up, so an abandoned intent is revoked again and again, at
//! the times of [`SWEEPS`], before it is forgotten. Names are never used twice, so revoking too often harms nobody.

use std::time::Duration;

use holdfast_barrier::view::{Check, Revision, StoreError, Txn};
use holdfast_failpoint::{failpoint, switched};
use holdfast_logical::{Error as BackendError, Namespace};

use super::{
    Error, Folder, Leases,
    due::Due,
    issue::ABANDONED_AFTER,
    record::{self, Intent},
    revoke::backoff,
    worker::Guard,
};

/// Time since abandonment of the sweeps after the first one.
const SWEEPS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

/// Sweeps, the first one counted, after which nothing goes on outside of a maker that lives: it has closed its session.
const SWEPT_ENOUGH: u32 = 2;

/// How long, and how often, what goes waits for what is being made in it.
const MOMENT: Duration = Duration::from_millis(100);
const MOMENTS: u32 = 50;

/// Nobody else sweeps an intent for this long.
const CLAIM: Duration = Duration::from_secs(60);

impl Leases {
    /// Undoes what the maker itself has begun. `ended`: nothing of it goes on outside, so one revocation is enough.
    /// What fails here is found by the sweep, since the intent stays.
    pub(super) async fn take_back(&self, intent: &mut Intent, stored: Revision, ended: bool) {
        let revoked = self.revoke_outside(&intent.mount_uuid, &intent.internal).await;
        failpoint!("lease.take-back.outside-done").await;
        if let Err(error) = &revoked {
            tracing::warn!(lease = intent.id, %error, "a credential that was not recorded could not be revoked yet");
        }
        let outcome = match revoked {
            Ok(()) if ended => self.forget(intent, stored).await,
            revoked => self.sweep_later(intent, stored, revoked.is_ok()).await.map(drop),
        };
        if let Err(error) = outcome {
            tracing::warn!(lease = intent.id, %error, "the intent stays as it is until it is swept");
        }
    }

    /// Forgets an intent of which nothing was begun outside.
    pub(super) async fn never_begun(&self, intent: &Intent, stored: Revision) {
        if let Err(error) = self.forget(intent, stored).await {
            tracing::warn!(lease = intent.id, %error, "the intent stays until it is swept");
        }
    }

    /// An intent's time has come: its maker is given up, what it made is revoked. False: it has not, and its entry may be
    /// in the wrong place.
    pub(super) async fn sweep(&self, serial: &str, guard: &Guard) -> Result<bool, Error> {
        let Some((mut intent, revision)) = self.view.get_json::<Intent>(&record::intent_path(serial)).await? else {
            return Ok(false);
        };
        let now = self.now();
        if intent.due > now {
            return Ok(false);
        }
        let maker_is_gone = self.is_maker_gone(&intent).await?;
        let due = std::mem::replace(&mut intent.due, record::after(now, record::soon(CLAIM)));
        intent.abandoned.get_or_insert(now);
        let claim = self.rewrite(&intent, due, revision, guard).await?;
        failpoint!("lease.sweep.claimed").await;
        let revoked = self.undo(&intent, maker_is_gone).await;
        failpoint!("lease.sweep.outside-done").await;
        if let Err(error) = &revoked {
            tracing::warn!(lease = intent.id, %error, "an abandoned credential could not be revoked yet");
        }
        let at_once = switched!("mutant.forget-abandoned-intent") && revoked.is_ok();
        if at_once || self.sweep_later(&mut intent, claim, revoked.is_ok()).await?.is_none() {
            self.forget(&intent, claim).await?;
        }
        Ok(true)
    }

    /// Its maker is no member of the cluster any more: it died, or it was paused and taken for dead.
    async fn is_maker_gone(&self, intent: &Intent) -> Result<bool, StoreError> {
        let Some(maker) = &intent.maker else { return Ok(false) };
        Ok(self.backends.members().await?.is_some_and(|members| !members.all.contains(maker)))
    }

    /// Revokes what an abandoned intent stands for, under the deadline; first it ends what a maker that is gone has under
    /// way outside, as far as that can be done. Whether it is sure that nothing of it goes on.
    async fn undo(&self, intent: &Intent, maker_is_gone: bool) -> Result<bool, Error> {
        let (_, backend) = self.backends.by_mount(&intent.mount_uuid).ok_or(Error::MountGone)?;
        let outside = async {
            let mut cut_off = false;
            if let Some(maker) = intent.maker.as_ref().filter(|_| maker_is_gone) {
                cut_off = backend.cut_off(&intent.internal, maker).await.unwrap_or_else(|error| {
                    tracing::warn!(lease = intent.id, %error, "what its maker has under way outside could not be ended");
                    false
                });
            }
            backend.revoke(&intent.internal).await.map(|()| cut_off)
        };
        Ok(tokio::time::timeout(record::outside_deadline(), outside).await.map_err(|_| Error::Timeout)??)
    }

    /// Takes back what was being made by a mount that goes. What is made at this moment ends by itself, and is waited for.
    /// An error as long as something is left.
    pub(crate) async fn end_intents_of_mount(&self, uuid: &str) -> Result<(), Error> {
        for _ in 0..MOMENTS {
            match self.end_intents("", |intent| intent.mount_uuid == uuid).await {
                Err(Error::Making) => tokio::time::sleep(MOMENT).await,
                outcome => return outcome,
            }
        }
        Err(Error::Making)
    }

    /// Forgets the intents that are chosen, of those whose serials end so: once what they stand for is revoked, and what
    /// their makers have under way outside is ended or, where these live, has had a minute for its end. The others are
    /// left to the sweep, and make an error: what could revoke must not go before.
    async fn end_intents(&self, suffix: &str, chosen: impl Fn(&Intent) -> bool) -> Result<(), Error> {
        let intents = self.intents(suffix, chosen).await?;
        if intents.iter().any(|(intent, _)| !self.is_abandoned(intent)) {
            return Err(Error::Making);
        }
        let mut left = 0_u32;
        for (intent, revision) in intents {
            let gone = self.is_maker_gone(&intent).await?;
            let cut_off = self.undo(&intent, gone).await?;
            if cut_off || (!gone && intent.swept >= SWEPT_ENOUGH) {
                self.forget(&intent, revision).await?;
            } else {
                left += 1;
            }
        }
        match left {
            0 => Ok(()),
            left => Err(BackendError::Unavailable(format!(
                "{left} credentials that were not recorded are still taken back; sys/fsck counts them as intents"
            ))
            .into()),
        }
    }

    /// Forgets the abandoned intents of a folder, whether what they stand for can be revoked or not.
    pub(super) async fn forget_intents(&self, folder: Folder<'_>) -> Result<(), Error> {
        for (intent, revision) in self.intents("", |intent| folder.holds(&intent.id)).await? {
            if !self.is_abandoned(&intent) {
                continue;
            }
            let gone = self.is_maker_gone(&intent).await?;
            if let Err(error) = self.undo(&intent, gone).await {
                tracing::warn!(lease = intent.id, %error, "what was being made is forgotten although it could not be revoked");
            }
            self.forget(&intent, revision).await?;
        }
        Ok(())
    }

    /// The intents that are chosen, of those whose serials end so.
    async fn intents(
        &self,
        suffix: &str,
        chosen: impl Fn(&Intent) -> bool,
    ) -> Result<Vec<(Intent, Revision)>, StoreError> {
        let mut intents = Vec::new();
        for serial in self.names("intent/").await?.iter().filter(|serial| serial.ends_with(suffix)) {
            let stored = self.view.get_json::<Intent>(&record::intent_path(serial)).await?;
            intents.extend(stored.filter(|(intent, _)| chosen(intent)));
        }
        Ok(intents)
    }

    /// Its maker has given it up, or has had the time for it.
    fn is_abandoned(&self, intent: &Intent) -> bool {
        intent.abandoned.is_some() || record::until(intent.begun, self.now()) >= record::soon(ABANDONED_AFTER)
    }

    /// Takes back what is being made in a namespace that goes, and forgets its released owners. An error as long as
    /// something of it is left.
    pub(crate) async fn forget_namespace(&self, namespace: &Namespace) -> Result<(), Error> {
        self.end_intents(&namespace.suffix(), |_| true).await?;
        let kinds = self.names("dead/").await?;
        for kind in kinds.iter().filter(|kind| kind.ends_with(&format!("@{}/", namespace.id))) {
            for uid in self.names(&format!("dead/{kind}")).await? {
                self.exhume(&format!("{kind}{uid}")).await?;
            }
        }
        Ok(())
    }

    /// Notes the outcome of a revocation and when the next one is due; `None` after the last one (nothing is written).
    async fn sweep_later(
        &self,
        intent: &mut Intent,
        revision: Revision,
        revoked: bool,
    ) -> Result<Option<Revision>, StoreError> {
        let now = self.now();
        let abandoned = *intent.abandoned.get_or_insert(now);
        let next = if revoked {
            intent.failures = 0;
            let Some(delay) = SWEEPS.get(intent.swept as usize) else { return Ok(None) };
            intent.swept += 1;
            record::after(abandoned, *delay).max(now)
        } else {
            intent.failures = intent.failures.saturating_add(1);
            record::after(now, backoff(intent.failures, &*self.entropy))
        };
        let due = std::mem::replace(&mut intent.due, next);
        self.rewrite(intent, due, revision, &None).await.map(Some)
    }

    async fn rewrite(
        &self,
        intent: &Intent,
        due: holdfast_base::Timestamp,
        revision: Revision,
        guard: &Guard,
    ) -> Result<Revision, StoreError> {
        let serial = record::serial(&intent.id);
        let path = self.view.path(&record::intent_path(serial));
        let mut txn = Txn::new();
        txn.check(path.clone(), Check::At(revision));
        txn.put_json(path, intent)?;
        txn.checks.extend(guard.iter().map(|(path, check)| (self.view.path(path), *check)));
        Due::Intent(serial.to_owned()).shift(&self.view, &mut txn, due, intent.due)?;
        self.view.commit(txn).await
    }

    async fn forget(&self, intent: &Intent, revision: Revision) -> Result<(), StoreError> {
        let serial = record::serial(&intent.id);
        let path = self.view.path(&record::intent_path(serial));
        let mut txn = Txn::new();
        txn.check(path.clone(), Check::At(revision));
        txn.delete(path);
        Due::Intent(serial.to_owned()).delete(&self.view, &mut txn, intent.due);
        self.view.commit(txn).await.map(drop)
    }
}
