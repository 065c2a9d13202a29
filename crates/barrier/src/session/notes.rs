//! Carries notes between those above the store of different replicas, with the messages that are sent anyway.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::peer::Notes;

/// Whose notes they are. One for all sessions of a barrier.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<RwLock<Option<Weak<dyn Notes>>>>);

impl Board {
    /// From here on these are exchanged.
    pub fn exchange(&self, notes: Weak<dyn Notes>) {
        *self.0.write() = Some(notes);
    }

    /// See [`Notes::tell`].
    pub fn tell(&self, since: u64) -> Option<(u64, String)> {
        self.notes()?.tell(since)
    }

    /// See [`Notes::hear`].
    pub fn hear(&self, note: &str) {
        if let Some(notes) = self.notes() {
            notes.hear(note);
        }
    }

    fn notes(&self) -> Option<Arc<dyn Notes>> {
        self.0.read().as_ref().and_then(Weak::upgrade)
    }
}
