//! From version 1 to version 2 without a pause.
//!
//! `tune` with `options.version=2` makes the mount answer as version 2 at once. The key `v2` is written first; from then
//! on version 1 writes nothing any more, on no replica. A secret that version 1 left is moved when it is first asked for,
//! and the rest in the background: each in one commit of its own, so that a crash leaves nothing half moved, and whoever
//! finds what is left goes on. Lists show both until everything is moved.

use std::sync::atomic::Ordering;

use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Error, StoreError, Txn};

use super::{Versioned, meta::Meta};
use crate::{
    v1::{LEFT, UPGRADED},
    walk::{self, Page},
};

/// Secrets that the background work moves before it lists again.
const ROUND: usize = 256;

impl Versioned {
    /// Has nothing of version 1 been left? Also makes sure that version 1 adds nothing.
    pub(super) async fn is_settled(&self) -> Result<bool, Error> {
        if self.settled.load(Ordering::SeqCst) {
            return Ok(true);
        }
        if self.view.get(UPGRADED).await?.is_none() {
            self.view.put_json(UPGRADED, &()).await?;
            failpoint!("kv.upgrade.begun").await;
        }
        let settled = self.view.list(&format!("{LEFT}/"), "", 1).await?.is_empty();
        if settled {
            self.settled.store(true, Ordering::SeqCst);
        }
        Ok(settled)
    }

    /// Moves one secret of version 1, if there is one at the path; it becomes version 1 of the secret there.
    pub(super) async fn take_over(&self, path: &str) -> Result<(), Error> {
        let (left, now) = (format!("{LEFT}/{path}"), self.clock.now());
        let Some(entry) = self.view.get(&left).await? else { return Ok(()) };
        let config = self.config().await?;
        let mut meta = Meta::new(now);
        let (number, _) = meta.add(&config, now);
        let full = self.view.path(&format!("meta/{path}"));
        let mut txn = Txn::new();
        txn.check(self.view.path(&left), Check::At(entry.revision)).check(full.clone(), Check::Absent);
        txn.put_json(full, &meta)?;
        txn.put(self.value_path(path, number), entry.value);
        txn.delete(self.view.path(&left));
        match self.view.commit(txn).await {
            // Somebody else moved it.
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves what is left.
    pub(super) async fn take_over_all(&self) -> Result<(), Error> {
        let (view, mut after) = (self.view.below(LEFT), String::new());
        while !self.is_settled().await? {
            let paths = walk::scan(&[&view], "", &Page { after, limit: ROUND }).await?;
            let Some(last) = paths.last() else { return Ok(()) };
            after = last.clone();
            for path in &paths {
                self.take_over(path).await?;
                failpoint!("kv.upgrade.one-moved").await;
            }
        }
        Ok(())
    }
}
