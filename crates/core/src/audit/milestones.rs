//! Milestones of the store in the audit log: passed now and then, told to the devices, which sign them into their checkpoints,
//! and looked for at the ends of the files at each unseal. A store that was put back to an older state while nobody ran is
//! behind them: then nothing is served, unless the configuration accepts it.
//!
//! A file that was rotated away, that is of another cluster or too young says nothing, and neither does a device that cannot be
//! read back. A replica that runs while the store is put back goes on (the barrier reads everything anew); it begins a new
//! count of milestones, so that it can be started again afterwards.

use holdfast_audit::Past;
use holdfast_base::Milestone;
use holdfast_failpoint::failpoint;
use holdfast_logical::StoreError;

use super::{Audit, AuditDevice};
use crate::{Error, open::Open};

impl Open {
    /// Opens the audit devices, if the store is as far as their files prove that it was.
    pub(crate) async fn open_audit(&self) -> Result<(), Error> {
        let restored = self.compare_with_files().await?;
        self.audit.sync().await?;
        if restored { self.pass_milestone().await } else { Ok(()) }
    }

    /// A checkpoint of the audit log that says how far the store has come, or at least how far the log has.
    pub(crate) async fn milestone(&self) {
        if let Err(error) = self.pass_milestone().await {
            tracing::warn!(%error, "how far the store has come is not in the audit log; trying again");
        }
        self.audit.checkpoint().await;
    }

    /// `true`: the store was put back to an older state, and the configuration accepts that.
    async fn compare_with_files(&self) -> Result<bool, Error> {
        let Some((file, proven)) = self.audit.proven().await? else { return Ok(false) };
        let store = self.config.barrier.milestone().await?;
        *self.audit.known.lock() = proven;
        if !store.is_behind(&proven) {
            return Ok(false);
        }
        if self.config.audit.accept_restored == Some(proven.to_string()) {
            return Ok(true);
        }
        let text = older(&file, &proven, &store);
        tracing::error!("{text}");
        Err(Error::internal(text))
    }

    /// Passes a milestone and tells it to the devices, behind all that was logged before. Of a store that was put back the log
    /// says so first, and a new count begins.
    async fn pass_milestone(&self) -> Result<(), Error> {
        if self.audit.is_idle() {
            return Ok(());
        }
        let (barrier, known) = (&self.config.barrier, *self.audit.known.lock());
        let store = barrier.milestone().await?;
        if store.is_behind(&known) {
            let text = format!("restored: the store went back {}; it is served as it is now", way(&known, &store));
            tracing::error!("{text}");
            self.tell("sys/storage/restored", &text).await?;
        }
        let passed = barrier.pass_milestone(&known).await?;
        failpoint!("milestone.passed").await;
        *self.audit.known.lock() = passed;
        self.audit.sign(Some(passed)).await;
        Ok(())
    }
}

impl Audit {
    /// What the end of a device's file says; `None` if it has none.
    pub(super) fn past(&self, device: &AuditDevice) -> Option<Past> {
        self.chains.past(&device.spec(self.folders_of(device)))
    }

    /// The last milestone that the end of a file proves, and the file.
    async fn proven(&self) -> Result<Option<(String, Milestone)>, StoreError> {
        let (devices, _) = self.devices().await?;
        let mut proven = Vec::new();
        for Past { file, store, foreign, .. } in devices.iter().filter_map(|device| self.past(device)) {
            if foreign > 0 {
                tracing::warn!(file, foreign, "checkpoints at the end of this audit file are not of this cluster");
            }
            match store {
                Some(store) => proven.push((file, store)),
                None => tracing::info!(file, "the end of this audit file does not say how far the store was"),
            }
        }
        Ok(proven.into_iter().max_by_key(|(_, store)| store.order()))
    }
}

/// Why nothing is served, and what is to be done.
fn older(file: &str, known: &Milestone, store: &Milestone) -> String {
    format!(
        "the store is older than it was: {file} proves that it went back {}. Find out who did that, and put the newest data \
         back. If you have restored a backup, accept what is lost by one start with accept_restored_store = \"{known}\" in \
         the configuration",
        way(known, store)
    )
}

fn way(from: &Milestone, to: &Milestone) -> String {
    format!("from milestone {from} at revision {} to milestone {to} at revision {}", from.revision, to.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_file_both_revisions_and_what_to_do() {
        let (known, store) = (
            Milestone { restores: 0, number: 41, revision: 5123 },
            Milestone { restores: 0, number: 7, revision: 812 },
        );
        let text = older("/var/log/audit.log", &known, &store);
        for part in ["/var/log/audit.log", "0/41 at revision 5123", "0/7 at revision 812", "store = \"0/41\""] {
            assert!(text.contains(part), "{text}");
        }
    }
}
