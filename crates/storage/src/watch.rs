//! A running watch.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::BoxStream;

use crate::{Error, Event, Revision};

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// All changes below the prefix that one revision made.
    Revision {
        /// The revision.
        revision: Revision,
        /// Its changes, at least one.
        events: Vec<Event>,
    },
    /// Everything up to this revision was told.
    Progress(Revision),
}

/// A stream of updates in order of revision. An error is the last item.
pub struct Watch {
    updates: BoxStream<'static, Result<Update, Error>>,
    ask: Arc<dyn Fn() + Send + Sync>,
}

impl Watch {
    /// A watch made of its updates and of a way to ask for progress.
    pub fn new(updates: BoxStream<'static, Result<Update, Error>>, ask: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { updates, ask }
    }

    /// Asks for an [`Update::Progress`]; a store may drop the request, so repeat it.
    pub fn ask_progress(&self) {
        (self.ask)();
    }

    /// The same request, to keep elsewhere.
    pub fn asker(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.ask.clone()
    }
}

impl Stream for Watch {
    type Item = Result<Update, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.as_mut().poll_next(context)
    }
}
