//! The one watch that feeds everything: keys, roster, cache.
//!
//! A revision is applied whole and in order. Whatever is doubtful (history compacted, a broken stream that cannot be resumed, a
//! lane that does not go on where it was, a store that is behind what we have seen) ends in a new load: everything is dropped and
//! read anew at one revision.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use holdfast_storage::{Error, Event, Range, Update, Watch};

use super::Session;
use super::order::SEALED;
use super::pauses::Pauses;
use super::roster::{self, Roster};
use super::witness::Witness;
use crate::barrier::Changed;
use crate::layout;
use crate::record::{self, MemberRecord, State};
use crate::value::MacKey;
use crate::view::Revision;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why a watch ended.
#[derive(Debug)]
enum End {
    /// It can go on after what is applied.
    Broken(Error),
    /// It cannot.
    Lost(&'static str),
    /// The store was put back to an older state: nothing that was agreed on with others holds any more.
    WentBack(&'static str),
}

/// Watches for ever.
pub(super) async fn run(session: Arc<Session>) {
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let before = session.cache.applied();
        let end = match session.start_watch().await {
            Ok(watch) => session.follow(watch).await,
            Err(end) => end,
        };
        session.feed.broke_off(session.clock.boottime());
        if session.cache.applied() > before {
            pauses.begin_anew();
        }
        match end {
            End::Broken(error) => tracing::warn!(%error, "the watch of the store broke off"),
            End::Lost(reason) => session.start_over(reason, false).await,
            End::WentBack(reason) => session.start_over(reason, true).await,
        }
        pauses.pause().await;
    }
}

impl Session {
    /// Starts after what is applied, having made sure that the store did not go back.
    async fn start_watch(&self) -> Result<Watch, End> {
        // What was asked for before now is this start.
        let _ = self.reconnect.notified().now_or_never();
        if self.doubtful.swap(false, Ordering::SeqCst) {
            return Err(End::Lost("another replica has seen other changes"));
        }
        let (generation, revision) = self.storage.get(layout::GENERATION).await.map_err(End::Broken)?;
        let applied = self.cache.applied();
        if revision < applied {
            return Err(End::WentBack("the store is behind what was seen of it"));
        }
        if generation.is_none_or(|item| item.mod_revision < self.keys.load().generation) {
            return Err(End::WentBack("the store has an older generation than was seen of it"));
        }
        match self.has_the_same_past(applied).await {
            Ok(true) => {}
            Ok(false) => return Err(End::WentBack("the store has another past than was seen of it")),
            Err(Error::Compacted(_)) => return Err(End::Lost("history is compacted")),
            Err(error) => return Err(End::Broken(error)),
        }
        let watch = match self.storage.watch(b"", applied + 1).await {
            Ok(watch) => watch,
            Err(Error::Compacted(_)) => return Err(End::Lost("history is compacted")),
            Err(error) => return Err(End::Broken(error)),
        };
        *self.ask_progress.lock() = Some(watch.asker());
        Ok(watch)
    }

    async fn follow(&self, mut watch: Watch) -> End {
        self.feed.begun();
        self.wake.notify_one();
        loop {
            let update = tokio::select! {
                update = watch.next() => update,
                () = self.reconnect.notified() => return match self.doubtful.swap(false, Ordering::SeqCst) {
                    true => End::Lost("another replica has seen other changes"),
                    false => End::Broken(Error::Failed("it lagged behind".to_owned())),
                },
            };
            match update {
                Some(Ok(Update::Revision { revision, events })) => {
                    if let Err(end) = self.apply(revision, &events) {
                        return end;
                    }
                }
                Some(Ok(Update::Progress(revision))) => self.advance(revision),
                Some(Err(Error::Compacted(_))) => return End::Lost("history is compacted"),
                Some(Err(error)) => return End::Broken(error),
                None => return End::Broken(Error::Failed("it ended".to_owned())),
            }
        }
    }

    /// Applies one revision: orders and keys first, as its values may need them; the cache last, as it is what readers wait for.
    fn apply(&self, revision: Revision, events: &[Event]) -> Result<(), End> {
        if revision <= self.cache.applied() {
            return Ok(());
        }
        self.take_orders(events);
        self.apply_keys(events)?;
        self.apply_members(events);
        let full = self.room.was_short_lately(self.clock.boottime());
        if !self.integrity.check(&self.keys.load(), revision, events, full) {
            return Err(End::Lost("changes are missing, or a lane's record was put back"));
        }
        if self.integrity.doubts() {
            self.wake.notify_one();
        }
        self.witness.lock().note(events);
        if self.peers.talk() {
            self.digest.add(&self.keys.load().mac, revision, events);
        }
        self.cache.apply(revision, events);
        self.show(revision);
        self.tell_changes(events);
        Ok(())
    }

    pub(super) fn advance(&self, revision: Revision) {
        if revision > self.cache.applied() {
            self.cache.advance(revision);
            self.show(revision);
        }
    }

    /// Memory shows this revision: readers, the gate and others may know.
    fn show(&self, revision: Revision) {
        self.applied.set(revision);
        self.look_at_gate();
        self.peers.tell_news();
    }

    /// Reads everything anew; if the store `went_back`, under a new id.
    async fn start_over(&self, reason: &str, went_back: bool) {
        tracing::warn!(reason, "the watch of the store is lost; everything is read anew");
        self.feed.doubt();
        // What was told to others under this record holds no more.
        self.confirmed.store(0, Ordering::SeqCst);
        if went_back {
            self.roster.lock().forget_what_was_said();
            if let Err(error) = self.leave_behind().await {
                tracing::warn!(%error, "cannot join again");
            }
        } else {
            self.demote(self.standing.load().revision, reason);
        }
        if let Err(error) = self.load().await {
            tracing::warn!(%error, "the store cannot be read");
        }
    }

    fn apply_keys(&self, events: &[Event]) -> Result<(), End> {
        let put = |key: &[u8]| {
            events.iter().find_map(|event| match event {
                Event::Put(item) if item.key == key => Some(item),
                _ => None,
            })
        };
        let generation = put(layout::GENERATION);
        let keys = self.keys.load_full();
        let next = match (put(layout::KEYRING), generation) {
            (Some(keyring), _) => {
                let succession = put(layout::SUCCESSION).map(|item| item.value.as_ref());
                keys.follow(keyring, generation, succession).map_err(|_| End::Lost("a new keyring does not open"))?
            }
            (None, Some(generation)) => keys.at_generation(generation),
            (None, None) => return Ok(()),
        };
        self.obey_level(&next);
        self.keys.store(Arc::new(next));
        Ok(())
    }

    fn apply_members(&self, events: &[Event]) {
        let own = self.standing.load();
        let keys = self.keys.load();
        let mut roster = self.roster.lock();
        let mut changed = false;
        for event in events.iter().filter(|event| event.key().starts_with(layout::MEMBERS)) {
            changed = true;
            if *event.key() != own.key {
                roster.apply(event, &keys.mac, self.clock.boottime());
            } else if !stands(event, &keys.mac) {
                // Evicted: nothing is read from memory until the heartbeat has made us join again.
                self.confirmed.store(0, Ordering::SeqCst);
            }
        }
        drop(roster);
        if changed {
            // Before what is applied is shown: whoever sees the revision sees its roster.
            self.look_at_gate();
            self.peers.look();
            self.wake.notify_one();
        }
    }

    fn tell_changes(&self, events: &[Event]) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        let keys = self.keys.load();
        for event in events {
            if let Some(name) = layout::clear_name(event.key()) {
                let _ = self.changes.send(Changed::Clear(name.to_owned()));
            }
        }
        for event in events.iter().filter(|event| event.key().starts_with(crate::names::DATA)) {
            if let Ok(path) = keys.names.path(event.key()) {
                // No receiver is no error.
                let _ = self.changes.send(Changed::Path(path));
            }
        }
    }

    /// Drops everything and reads keys and roster at one revision, the watch's new start.
    async fn load(&self) -> Result<(), Error> {
        let (_, revision) = self.storage.get(layout::GENERATION).await?;
        let read = |range: Range| self.storage.range(range.at(revision));
        let keyring = read(Range::key(layout::KEYRING)).await?.items.pop();
        let generation = read(Range::key(layout::GENERATION)).await?.items.pop();
        let succession = read(Range::key(layout::SUCCESSION)).await?.items.pop();
        let orders = read(Range::key(layout::clear(SEALED))).await?.items;
        let (Some(keyring), Some(generation)) = (keyring, generation) else {
            return Err(Error::Failed("the store has lost its keyring".to_owned()));
        };
        let succession = succession.as_ref().map(|item| item.value.as_ref());
        let keys = self.keys.load();
        let next = keys
            .follow(&keyring, Some(&generation), succession)
            .map_err(|_| Error::Failed("the stored keyring does not open".to_owned()))?;
        let members = read(Range::prefix(layout::MEMBERS)).await?.items;
        let lanes = read(Range::prefix(layout::LANES)).await?.items;
        let vanished = roster::vanished(self.storage.as_ref(), &members, revision).await?;
        let own = self.standing.load();
        let now = self.clock.boottime();
        let mut roster = Roster::of(&members, &own.key, &next.mac, self.peers.protocols(), now);
        roster.count_vanished(vanished, &own.key, now);
        self.obey_level(&next);
        self.take_orders(&orders.into_iter().map(Event::Put).collect::<Vec<_>>());
        self.keys.store(Arc::new(next));
        {
            let mut known = self.roster.lock();
            roster.succeed(std::mem::take(&mut known), &own.key, now);
            *known = roster;
        }
        self.integrity.start_from(&self.keys.load(), &lanes);
        *self.witness.lock() = Witness::default();
        self.digest.reset(revision);
        self.cache.reset(revision);
        self.answered.store(0, Ordering::SeqCst);
        self.epoch.store(super::next_epoch(), Ordering::SeqCst);
        self.show(revision);
        self.peers.look();
        // No receiver is no error.
        let _ = self.changes.send(Changed::Everything);
        Ok(())
    }
}

/// Whether our own record is still one of a member that serves.
fn stands(event: &Event, mac: &MacKey) -> bool {
    let Event::Put(item) = event else { return false };
    let record = record::decode::<MemberRecord>(mac, &item.key, &item.value);
    record.is_some_and(|record| record.state != State::Evicted)
}
