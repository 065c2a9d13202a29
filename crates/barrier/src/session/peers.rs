//! Talking to other replicas: what we show, what they show, who is slow, who is silent.
//!
//! One task per member sends the latest of what we know, at most one message in flight; its answer is the latest of what the
//! other knows. Whoever reads from memory and keeps others waiting is asked to give that up, and does so before it answers.

mod slow;
mod talk;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Session;
use super::acks::{Ack, Message};
use super::notes::Board;
use super::roster::Roster;
use crate::layout;
use crate::peer::{Endpoint, Inbox, PROTOCOL, PeerLink};
use crate::view::Revision;
use slow::Rest;

const TICK: Duration = Duration::from_millis(50);

/// What a session has for its talk with others.
pub(super) struct Peers {
    link: Option<Arc<dyn PeerLink>>,
    /// There is something to tell.
    news: watch::Sender<()>,
    beat: AtomicU64,
    /// The record of ours under which nothing is read from memory any more; 0: none.
    demoted: AtomicI64,
    rest: Mutex<Rest>,
    talks: Mutex<HashMap<Bytes, (Endpoint, JoinHandle<()>)>>,
    board: Board,
    wake: Notify,
    pub counters: Counters,
}

/// What happened since the unseal.
#[derive(Default)]
pub(super) struct Counters {
    /// We gave up reading from memory.
    pub demotions: AtomicU64,
    /// We wanted others to.
    pub demands: AtomicU64,
    /// Members that we evicted.
    pub evictions: AtomicU64,
    /// We were evicted and joined again.
    pub rejoins: AtomicU64,
}

/// Where messages come in before and after there is a session.
#[derive(Default)]
pub(super) struct Post(OnceLock<Weak<Session>>);

impl Post {
    /// From here on messages are read.
    pub fn deliver_to(&self, session: &Arc<Session>) {
        // Once per session.
        let _ = self.0.set(Arc::downgrade(session));
    }
}

impl Inbox for Post {
    fn receive(&self, fingerprint: &str, message: &[u8]) -> Bytes {
        let session = self.0.get().and_then(Weak::upgrade);
        let known = session.and_then(|session| session.receive(fingerprint, message).map(|_| session.message(None)));
        known.unwrap_or_default()
    }
}

/// Looks after the talks and after who is slow, for ever.
pub(super) async fn run(session: Arc<Session>) {
    loop {
        session.mind_talks();
        session.mind_own_lag();
        session.mind_the_slow();
        session.look_at_gate();
        // The first to come: a change in the roster, or time.
        let _ = tokio::time::timeout(TICK, session.peers.wake.notified()).await;
    }
}

impl Peers {
    pub fn new(link: Option<Arc<dyn PeerLink>>, board: Board) -> Self {
        Self {
            link,
            news: watch::Sender::new(()),
            beat: AtomicU64::new(0),
            demoted: AtomicI64::new(0),
            rest: Mutex::default(),
            talks: Mutex::default(),
            board,
            wake: Notify::new(),
            counters: Counters::default(),
        }
    }

    /// Whether this replica can talk to others at all.
    pub fn talk(&self) -> bool {
        self.link.is_some()
    }

    /// Where it listens to them.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.link.as_ref().map(|link| link.endpoint())
    }

    /// Oldest and newest protocol that it speaks with them.
    pub fn protocols(&self) -> (u8, u8) {
        self.endpoint().map_or((PROTOCOL, PROTOCOL), |endpoint| endpoint.protocols)
    }

    /// There is something to tell.
    pub fn tell_news(&self) {
        self.news.send_replace(());
    }

    /// The roster changed.
    pub fn look(&self) {
        self.wake.notify_one();
    }

    /// Whether nothing may be read from memory under this record.
    pub fn is_demoted(&self, record: Revision) -> bool {
        self.demoted.load(Ordering::SeqCst) == record
    }

    /// From here on nothing is read from memory under this record.
    pub fn give_up(&self, record: Revision) {
        self.demoted.store(record, Ordering::SeqCst);
    }

    /// Ends all talks.
    pub fn close(&self) {
        if let Some(link) = &self.link {
            link.close();
        }
        self.talks.lock().drain().for_each(|(_, (_, task))| task.abort());
    }
}

impl Session {
    /// Opens the gate as far as the roster, what was heard and the time let it.
    pub(super) fn look_at_gate(&self) {
        self.open_gate(&self.roster.lock());
    }

    /// The same by who has the roster locked: so that an older look does not overwrite a newer one.
    fn open_gate(&self, roster: &Roster) {
        // The roster is of this revision or a later one.
        let applied = self.applied.get();
        let shown = roster.shown_by_all(self.clock.boottime());
        // Alone, one's own writes need not come back by the watch first. Who joins now reads nothing from memory before we
        // have told him that we know.
        self.gate.open_to(if roster.is_empty() { Revision::MAX } else { shown.min(applied) });
    }

    /// Everything that we know of everybody, and a note.
    fn message(&self, note: Option<String>) -> Bytes {
        let standing = self.standing.load();
        let applied = self.applied.get();
        let own = Ack {
            record: standing.revision,
            applied,
            beat: self.peers.beat.fetch_add(1, Ordering::SeqCst) + 1,
            demoted: self.peers.is_demoted(standing.revision),
            wanted: false,
            digest: self.digest.at(applied),
        };
        let from = layout::hex(&standing.id);
        let mut message = Message { from: from.clone(), acks: HashMap::new(), note };
        let others = self.roster.lock().tell().map(|(id, ack)| (layout::hex(&id), ack.clone())).collect::<Vec<_>>();
        message.acks.extend(others);
        message.acks.insert(from, own);
        message.encode()
    }

    /// A message, or an answer to one, of who shows this fingerprint: by which member. `None`: he has no record that we have
    /// seen.
    fn receive(&self, fingerprint: &str, bytes: &[u8]) -> Option<Bytes> {
        let message = Message::decode(bytes)?;
        let from = Message::member(&message.from)?;
        let now = self.clock.boottime();
        let own = self.standing.load_full();
        let (mut wanted, mut diverged) = (false, false);
        let applied = self.applied.get();
        {
            let mut roster = self.roster.lock();
            roster.holder(fingerprint)?;
            for (id, ack) in &message.acks {
                let key = Message::member(id)?;
                if key == own.key {
                    wanted |= ack.wanted && ack.record == own.revision;
                } else {
                    diverged |= !self.digest.agrees(&key, ack, applied);
                    roster.hear(key, ack, now);
                }
            }
            self.open_gate(&roster);
        }
        if diverged {
            tracing::error!("another replica has seen other changes of the store; everything is read anew");
            self.doubtful.store(true, Ordering::SeqCst);
            self.reconnect.notify_one();
        }
        if let Some(note) = &message.note {
            self.peers.board.hear(note);
        }
        if wanted {
            self.demote(own.revision, "others had to wait for it");
        }
        Some(from)
    }
}
