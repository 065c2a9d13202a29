//! How far the watch has come.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::watch;

use crate::view::Revision;

/// The revision that memory shows: told by the watch, asked for by every read, awaited by few.
pub(super) struct Applied {
    /// The same as in `told`, which takes a lock: readers on many cores would hand it to and fro.
    revision: AtomicI64,
    told: watch::Sender<Revision>,
}

impl Applied {
    pub fn new(start: Revision) -> Self {
        Self { revision: AtomicI64::new(start), told: watch::Sender::new(start) }
    }

    /// Memory shows this revision at least.
    pub fn get(&self) -> Revision {
        self.revision.load(Ordering::SeqCst)
    }

    /// Memory shows this revision from now on. For the watch only.
    pub fn set(&self, revision: Revision) {
        self.revision.store(revision, Ordering::SeqCst);
        self.told.send_replace(revision);
    }

    /// For those who wait until memory shows a revision.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.told.subscribe()
    }
}
