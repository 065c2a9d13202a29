//! Talking to other replicas: what we show, what they show, who is slow, who is silent.
//!
//! One task per member sends the latest of what we know, at most one message in flight; its answer is the latest of what the
//! other knows. Whoever reads from memory and keeps others waiting is asked to give that up, and does so before it answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Session;
use super::acks::{Ack, Message};
use super::notes::Board;
use super::roster::Roster;
use crate::layout;
use crate::peer::{Endpoint, Inbox, PROTOCOL, PeerLink};
use crate::record::State;
use crate::view::Revision;

/// A message at least so often, also without news.
const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// A message must be answered within this, or the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// The same of the first message on a new connection.
const RECONNECT_WITHIN: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);
/// An answer that waits for so long has who keeps it waiting demoted; who is so far behind others demotes itself.
const SLOW: Duration = Duration::from_millis(250);
/// Never further behind than this for a while: then it may read from memory again.
const CALM: Duration = Duration::from_millis(50);
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);

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

/// When we may read from memory again after a demotion.
#[derive(Default)]
struct Rest {
    length: Duration,
    /// Boottime since which we have kept up.
    since: Duration,
    /// How long we are behind others now.
    behind: Option<Instant>,
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

    /// Whether the last demotion is long enough ago, and we have kept up since.
    pub fn is_rested(&self, now: Duration) -> bool {
        let rest = self.rest.lock();
        rest.length.is_zero() || now >= rest.since + rest.length
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
        let applied = *self.applied.borrow();
        let shown = roster.shown_by_all(self.clock.boottime());
        // Alone, one's own writes need not come back by the watch first. Who joins now reads nothing from memory before we
        // have told him that we know.
        self.gate.open_to(if roster.is_empty() { Revision::MAX } else { shown.min(applied) });
    }

    /// Everything that we know of everybody, and a note.
    fn message(&self, note: Option<String>) -> Bytes {
        let standing = self.standing.load();
        let applied = *self.applied.borrow();
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
        let applied = *self.applied.borrow();
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

    /// Reads nothing from memory any more under this record of ours.
    pub(super) fn demote(&self, record: Revision, why: &str) {
        let standing = self.standing.load();
        if standing.state != State::Cached
            || standing.revision != record
            || self.peers.demoted.swap(record, Ordering::SeqCst) == record
        {
            return;
        }
        tracing::warn!(why, "this replica asks the store before each read for a while");
        self.peers.counters.demotions.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.boottime();
        let mut rest = self.peers.rest.lock();
        let long_ago = now > rest.since + rest.length + LONGEST_REST;
        rest.length = if long_ago { FIRST_REST } else { (rest.length * 2).clamp(FIRST_REST, LONGEST_REST) };
        rest.since = now;
        drop(rest);
        self.peers.tell_news();
        self.wake.notify_one();
    }

    /// Who sees others ahead does not keep them waiting.
    fn mind_own_lag(&self) {
        let (furthest, applied) = (self.roster.lock().furthest(), *self.applied.borrow());
        let mut rest = self.peers.rest.lock();
        if furthest <= applied {
            rest.behind = None;
            return;
        }
        let behind = *rest.behind.get_or_insert_with(Instant::now);
        if behind.elapsed() > CALM {
            rest.since = self.clock.boottime();
        }
        drop(rest);
        if behind.elapsed() > SLOW && self.beats.was_there(behind) {
            self.demote(self.standing.load().revision, "it is behind others");
        }
    }

    /// Has everybody demoted whom an answer waits for too long.
    fn mind_the_slow(&self) {
        let applied = *self.applied.borrow();
        if let Some((_, since)) = self.gate.overdue(SLOW / 2, applied) {
            self.beats.find_out(since);
        }
        let Some((revision, since)) = self.gate.overdue(SLOW, applied) else { return };
        if !self.beats.was_there(since) {
            return;
        }
        let wanted = self.roster.lock().demote_behind(revision, self.clock.boottime());
        if wanted > 0 {
            self.peers.counters.demands.fetch_add(wanted, Ordering::Relaxed);
            tracing::warn!("another replica is slow; it is asked to give up its cache");
            self.peers.tell_news();
        }
    }

    /// One talk for each member that can be reached.
    fn mind_talks(self: &Arc<Self>) {
        let Some(link) = self.peers.link.clone() else { return };
        let wanted = self.roster.lock().endpoints();
        let mut talks = self.peers.talks.lock();
        self.digest.retain(|key| wanted.contains_key(key));
        talks.retain(|key, (endpoint, task)| {
            let keep = wanted.get(key) == Some(endpoint);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, endpoint) in wanted {
            talks.entry(key.clone()).or_insert_with(|| {
                let talk = talk(self.clone(), link.clone(), key, endpoint.clone());
                (endpoint, tokio::spawn(talk))
            });
        }
    }
}

/// Tells a member the latest, for ever.
async fn talk(session: Arc<Session>, link: Arc<dyn PeerLink>, key: Bytes, endpoint: Endpoint) {
    let mut news = session.peers.news.subscribe();
    let mut pause = PAUSE;
    let mut connected = false;
    let mut told = 0;
    loop {
        news.borrow_and_update();
        let limit = if connected { ANSWER_WITHIN } else { RECONNECT_WITHIN };
        let note = session.peers.board.tell(told).map(|(number, note)| {
            told = number;
            note
        });
        let answer = tokio::time::timeout(limit, link.call(&endpoint, session.message(note))).await;
        connected = match answer {
            Ok(Ok(answer)) => {
                // It lives, even if it has not seen our record yet. But it may go on under another id: then nobody is there
                // under this one, of which a store that went back still has a record.
                session.receive(&endpoint.key, &answer).is_none_or(|from| from == key)
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "a replica was not reached");
                false
            }
            Err(_) => {
                tracing::debug!(address = endpoint.address, "a replica did not answer in time");
                false
            }
        };
        let given_up = session.roster.lock().tried(&key, connected);
        if given_up {
            session.wake.notify_one();
        }
        if connected {
            pause = PAUSE;
            // The first to come: news, or time.
            let _ = tokio::time::timeout(KEEP_ALIVE, news.changed()).await;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
