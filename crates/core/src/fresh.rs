//! What is derived from the store and need not be looked at again while nothing at all has changed there.

use arc_swap::ArcSwapOption;
use holdfast_logical::{Mark, Revision, View};

/// Of which state of the store something derived is. Most requests find that of the one before them.
#[derive(Default)]
pub(crate) struct Fresh(ArcSwapOption<(Mark, Revision)>);

impl Fresh {
    /// Is the thing of this version still what the store says?
    pub fn holds(&self, view: &View, version: Revision) -> bool {
        self.0.load().as_ref().is_some_and(|known| known.1 == version && view.is_unchanged(&known.0))
    }

    /// The thing of this version was found to be what the store says, by a look that began at `before`.
    pub fn remember(&self, view: &View, before: Option<Mark>, version: Revision) {
        if let (Some(before), Some(after)) = (before, view.mark())
            && before.is_of(&after)
        {
            self.0.store(Some((after, version).into()));
        }
    }
}
