//! Raising the feature level, and leaving where it is one that we do not serve.
//!
//! Who joined in this very moment is not among the records that are compared. It compared the generation, so it either came
//! before the new level, and leaves when it applies it; or it was refused. Its batches compare the generation, too: nothing of it
//! is written in between.

use std::sync::atomic::Ordering;

use holdfast_storage::{Compare, Condition, Op, Txn};

use super::Session;
use super::standing::Standing;
use crate::keys::Keys;
use crate::layout::GENERATION;
use crate::record::{self, Generation};
use crate::view::StoreError;

impl Session {
    /// Raises the level if every member serves a higher one.
    pub(super) async fn raise_level(&self, standing: &Standing) -> Result<(), StoreError> {
        let keys = self.keys.load_full();
        let common = self.roster.lock().common_level(self.options.levels, self.clock.boottime());
        let Some((level, members)) = common.filter(|(level, _)| *level > keys.level) else { return Ok(()) };
        let mut compares = vec![standing.fence(), Compare::new(GENERATION, Condition::ModRevision(keys.generation))];
        compares.extend(members.into_iter().map(|(key, revision)| Compare::new(key, Condition::ModRevision(revision))));
        let generation = Generation { term: keys.keyring.active(), level };
        let then = vec![Op::put(GENERATION, record::encode(&keys.mac, GENERATION, &generation))];
        // If it did not hold, or nobody knows, it is tried again from what the watch shows then.
        if self.storage.txn(Txn { compares, then, otherwise: Vec::new() }).await?.succeeded {
            tracing::info!(
                from = keys.level,
                to = level,
                "all replicas serve a higher feature level; older versions do not open this store any more"
            );
        }
        Ok(())
    }

    /// Seals where these keys are of a level that we do not serve: before anything that was written at it can be read.
    pub(super) fn obey_level(&self, keys: &Keys) {
        if let Err(error) = self.options.levels.admit(keys.level) {
            tracing::error!(%error, "this replica seals itself");
            self.ordered.store(true, Ordering::SeqCst);
        }
    }
}
