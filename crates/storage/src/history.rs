//! The recent past of a store that keeps only live keys: for watches, and for reads of an older revision.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{Change, Error, Event, KeyValue, Range, Revision, Rows, Update, Watch};

/// Changes by revision, newest last, and who watches them. Shared by cloning.
#[derive(Clone)]
pub struct History(Arc<Mutex<Past>>);

struct Past {
    revision: Revision,
    compacted: Revision,
    keep: usize,
    changes: VecDeque<(Revision, Arc<[Change]>)>,
    watchers: Vec<Watcher>,
}

struct Watcher {
    prefix: Bytes,
    updates: mpsc::UnboundedSender<Result<Update, Error>>,
}

impl History {
    /// Starts at `revision`, with nothing before it; keeps the last `keep` revisions.
    pub fn new(revision: Revision, keep: usize) -> Self {
        let past = Past { revision, compacted: revision, keep, changes: VecDeque::new(), watchers: Vec::new() };
        Self(Arc::new(Mutex::new(past)))
    }

    /// Newest revision.
    pub fn revision(&self) -> Revision {
        self.0.lock().revision
    }

    /// Adds a revision and tells the watchers. An empty list adds nothing.
    pub fn publish(&self, revision: Revision, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut past = self.0.lock();
        past.revision = revision;
        past.watchers.retain(|watcher| match update(&watcher.prefix, revision, &changes) {
            Some(update) => watcher.updates.send(Ok(update)).is_ok(),
            None => !watcher.updates.is_closed(),
        });
        past.changes.push_back((revision, changes.into()));
        while past.changes.len() > past.keep {
            if let Some((oldest, _)) = past.changes.pop_front() {
                past.compacted = oldest;
            }
        }
    }

    /// Forgets everything up to and including `revision`, as far as it is past.
    pub fn compact(&self, revision: Revision) {
        let mut past = self.0.lock();
        let revision = revision.min(past.revision);
        past.compacted = past.compacted.max(revision);
        past.changes.retain(|(at, _)| *at > revision);
    }

    /// Reads a range of `table` (whose state is that of `now`) as it was at `range.at`.
    pub fn read<T: Rows>(&self, table: &T, now: Revision, range: &Range) -> Result<(Vec<KeyValue>, bool), Error> {
        let undo = match range.at {
            Some(at) => self.since(at, now)?,
            None => Vec::new(),
        };
        let touched = undo.iter().flat_map(|changes| changes.iter()).any(|change| range.contains(&change.key));
        let wanted = if range.limit == 0 || touched { 0 } else { range.limit + 1 };
        let mut items = table.scan(&range.clone().limit(wanted))?;
        if touched {
            let mut state: BTreeMap<Bytes, KeyValue> = items.into_iter().map(|item| (item.key.clone(), item)).collect();
            for change in undo.iter().flat_map(|changes| changes.iter()).filter(|change| range.contains(&change.key)) {
                match &change.before {
                    Some(item) => state.insert(change.key.clone(), item.clone()),
                    None => state.remove(&change.key),
                };
            }
            items = state.into_values().collect();
        }
        let more = range.limit > 0 && items.len() > range.limit;
        if more {
            items.truncate(range.limit);
        }
        if range.keys_only {
            items.iter_mut().for_each(|item| item.value = Bytes::new());
        }
        Ok((items, more))
    }

    /// Starts a watch: what is remembered from `from` on, then what comes.
    pub fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let prefix = Bytes::copy_from_slice(prefix);
        let mut past = self.0.lock();
        if from <= past.compacted {
            return Err(Error::Compacted(past.compacted));
        }
        for (revision, changes) in past.changes.iter().filter(|(revision, _)| *revision >= from) {
            if let Some(update) = update(&prefix, *revision, changes) {
                // The receiver is held below, so sending cannot fail.
                let _ = sender.send(Ok(update));
            }
        }
        past.watchers.push(Watcher { prefix, updates: sender.clone() });
        drop(past);
        let history = self.clone();
        let weak = sender.downgrade();
        let ask = move || {
            // Under the lock, so that no revision can come between the number and the message.
            let past = history.0.lock();
            if let Some(sender) = weak.upgrade() {
                let _ = sender.send(Ok(Update::Progress(past.revision)));
            }
        };
        let updates = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|update| (update, receiver))
        });
        Ok(Watch::new(updates.boxed(), Arc::new(ask)))
    }

    /// The changes after `at` up to `now`, newest first.
    fn since(&self, at: Revision, now: Revision) -> Result<Vec<Arc<[Change]>>, Error> {
        let past = self.0.lock();
        if at > now {
            return Err(Error::Future);
        }
        if at < past.compacted {
            return Err(Error::Compacted(past.compacted));
        }
        let newer = past.changes.iter().rev().filter(|(revision, _)| *revision > at && *revision <= now);
        Ok(newer.map(|(_, changes)| changes.clone()).collect())
    }
}

fn update(prefix: &[u8], revision: Revision, changes: &[Change]) -> Option<Update> {
    let events: Vec<Event> = changes
        .iter()
        .filter(|change| change.key.starts_with(prefix))
        .map(|change| match &change.now {
            Some(item) => Event::Put(item.clone()),
            None => Event::Delete { key: change.key.clone(), mod_revision: revision },
        })
        .collect();
    (!events.is_empty()).then_some(Update::Revision { revision, events })
}
