//! Proof through raft that our member key still stands: what a cached read rests on.
//!
//! A delete of a key that never exists, if the member key is as we know it: it changes nothing, makes no revision and no event, is
//! taken by a full store, and its answer is that of this very request. It runs on a thread of its own where there is one
//! ([`crate::Pulse`]): a busy process is no dead one.
//!
//! One is sent twice a second, whether or not those before it are answered: what a member of etcd hands to a leader that died is
//! lost, and what is sent after the next one is there is not. So a heartbeat also tells that what was sent long before it and is
//! not answered yet never will be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use holdfast_failpoint::switched;
use holdfast_storage::{Error, Op, OpReply, Txn, TxnReply};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Session;
use super::feed::nanos;
use super::standing::Standing;
use crate::layout;
use crate::view::Revision;

const EVERY: Duration = Duration::from_millis(500);
/// How long a confirmed heartbeat entitles to begin something outside the store, from its send. The store answers within
/// this, or not at all.
const MEMBER_FOR: Duration = Duration::from_secs(5);
/// Longest time the watch may be behind what a heartbeat has seen.
const MAX_LAG: Duration = Duration::from_secs(1);
/// What was sent so long before a confirmed heartbeat is answered by then, or never.
pub(super) const OVERTAKEN_BY: Duration = Duration::from_secs(1);
/// The store was away if it confirmed nothing for so long.
const AWAY: Duration = Duration::from_millis(700);
/// How long others have for their watches then.
const TO_COME_BACK: Duration = Duration::from_millis(150);

/// A moment, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub boottime: Duration,
    at: Instant,
}

/// When the store was asked, and when it confirmed.
#[derive(Default)]
pub(super) struct Beats {
    latest: Mutex<Latest>,
    confirmed: Notify,
    hurry: Notify,
}

#[derive(Clone, Copy, Default)]
struct Latest {
    /// When the last heartbeat was sent.
    asked: Option<Instant>,
    /// When the newest was sent, heartbeat or batch, that was confirmed.
    sent: Option<Instant>,
    /// When the last confirmation came.
    heard: Option<Instant>,
    /// When the first one came after the store was away.
    back: Option<Instant>,
}

/// A heartbeat and what became of it.
struct Beat {
    standing: Arc<Standing>,
    /// What was applied when it was sent.
    seen: Revision,
    sent: Sent,
    reply: Result<TxnReply, Error>,
}

/// Starts to beat.
pub(super) fn start(session: Arc<Session>) -> JoinHandle<()> {
    match session.options.pulse.as_ref().map(|pulse| pulse.runtime.clone()) {
        Some(runtime) => runtime.spawn(run(session)),
        None => tokio::spawn(run(session)),
    }
}

/// Beats for ever.
async fn run(session: Arc<Session>) {
    let mut behind: Option<(Revision, Instant)> = None;
    let mut beats = FuturesUnordered::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            Some(beat) = beats.next() => session.heard(beat, &mut behind).await,
            () = session.beats.due(next) => {
                beats.push(session.beat());
                next = Instant::now() + EVERY;
            }
        }
    }
}

impl Session {
    /// Now.
    pub(super) fn sending(&self) -> Sent {
        Sent { boottime: self.clock.boottime(), at: Instant::now() }
    }

    /// Our member key stood when this was sent, or later.
    pub(super) fn confirm(&self, standing: &Standing, sent: Sent) {
        if self.standing.load().id == standing.id {
            self.confirmed.fetch_max(nanos(sent.boottime), Ordering::SeqCst);
        }
        self.beats.confirm(sent.at);
    }

    /// Was the last heartbeat that held sent within `window`, and is nobody silent for longer whom answers wait for?
    pub(crate) fn can_answer(&self, window: Duration) -> bool {
        let now = self.clock.boottime();
        self.confirmed_within(now, window) && !self.roster.lock().any_mute(now, window)
    }

    fn confirmed_within(&self, now: Duration, window: Duration) -> bool {
        let confirmed = self.confirmed.load(Ordering::SeqCst);
        confirmed != 0 && now < Duration::from_nanos(confirmed) + window
    }

    /// Our id, if the store has confirmed lately that it is one.
    pub(crate) fn confirmed_member(&self) -> Option<String> {
        let id = self.standing.load().id;
        // Who joins anew in between has another one.
        let confirmed = self.confirmed_within(self.clock.boottime(), MEMBER_FOR) && self.standing.load().id == id;
        confirmed.then(|| layout::hex(&id))
    }

    async fn beat(&self) -> Beat {
        let standing = self.standing.load_full();
        let (seen, sent) = (self.applied.get(), self.sending());
        self.beats.latest.lock().asked = Some(sent.at);
        let txn = Txn {
            compares: vec![standing.fence()],
            then: vec![Op::delete(layout::NEVER)],
            otherwise: vec![Op::get(standing.key.clone())],
        };
        let storage = self.options.pulse.as_ref().map_or(&self.storage, |pulse| &pulse.storage);
        let reply = storage.txn(txn).await;
        Beat { standing, seen, sent, reply }
    }

    async fn heard(&self, beat: Beat, behind: &mut Option<(Revision, Instant)>) {
        let reply = match beat.reply {
            Ok(reply) => reply,
            Err(error) => return tracing::debug!(%error, "a heartbeat was not answered"),
        };
        if reply.revision < beat.seen {
            // Somebody has put the store back to an older state. The watch finds the same when it starts again.
            tracing::error!("the store is behind what was seen of it");
            self.confirmed.store(0, Ordering::SeqCst);
            self.feed.doubt();
            return self.reconnect.notify_one();
        }
        if reply.succeeded {
            self.confirm(&beat.standing, beat.sent);
            self.beats.confirmed.notify_waiters();
            if switched!("mutant.applied-from-header") {
                self.advance(reply.revision);
            }
        } else if let Some(OpReply::Get(item)) = reply.replies.into_iter().next()
            && let Err(error) = self.member_changed(&beat.standing, item).await
        {
            tracing::warn!(%error, "cannot rejoin");
        }
        self.watch_lag(reply.revision, behind);
    }

    /// The heartbeat's revision is the yardstick of the watch.
    fn watch_lag(&self, revision: Revision, behind: &mut Option<(Revision, Instant)>) {
        if !self.feed.runs() {
            // There is none to judge: it pauses before it starts again, longer than one may lag.
            *behind = None;
            return;
        }
        let applied = self.applied.get();
        match behind {
            Some((expected, _)) if applied >= *expected => *behind = None,
            Some((_, since)) if since.elapsed() > MAX_LAG => {
                self.feed.doubt();
                self.reconnect.notify_one();
                *behind = None;
            }
            _ => {}
        }
        // An old etcd is asked one beat later, as in `wait_applied`.
        if applied < revision && behind.is_some() == self.options.old_etcd {
            self.ask_progress();
        }
        if applied < revision {
            behind.get_or_insert((revision, Instant::now()));
        }
    }

    /// Sends a transaction, and gives it up as of unknown outcome once the answer to a heartbeat that was sent
    /// [`OVERTAKEN_BY`] after it is there.
    pub(super) async fn send(&self, txn: Txn) -> Result<TxnReply, Error> {
        self.send_unless_overtaken(txn, OVERTAKEN_BY).await
    }

    /// The same with another time. Who tries again waits longer each time: the way may be slow, and not that of heartbeats.
    pub(super) async fn send_unless_overtaken(&self, txn: Txn, by: Duration) -> Result<TxnReply, Error> {
        let sent = Instant::now();
        tokio::select! {
            biased;
            reply = self.storage.txn(txn) => reply,
            () = self.beats.overtakes(sent + by) => Err(Error::Unknown("the store has answered what was sent later".to_owned())),
        }
    }
}

// === impl Beats ===

impl Beats {
    fn confirm(&self, sent: Instant) {
        let now = Instant::now();
        let mut latest = self.latest.lock();
        if latest.heard.is_none_or(|heard| now > heard + AWAY) {
            latest.back = Some(now);
        }
        latest.sent = latest.sent.max(Some(sent));
        latest.heard = Some(now);
    }

    /// Whether the store was there after `since`, and has not come back just now: then who is behind is slow. One who has lost
    /// its watch together with the store is not.
    pub fn was_there(&self, since: Instant) -> bool {
        let Latest { sent, back, .. } = *self.latest.lock();
        sent.is_some_and(|sent| sent >= since) && back.is_none_or(|back| back.elapsed() >= TO_COME_BACK)
    }

    /// Has the store asked whether it is there, if it was not since.
    pub fn find_out(&self, since: Instant) {
        let Latest { asked, sent, .. } = *self.latest.lock();
        if asked.max(sent).is_none_or(|last| last < since) {
            self.hurry.notify_one();
        }
    }

    async fn due(&self, next: Instant) {
        // The first to come: its time, or somebody who cannot wait.
        let _ = tokio::time::timeout_at(next, self.hurry.notified()).await;
    }

    /// Returns when something is confirmed that was sent at `since` or later.
    async fn overtakes(&self, since: Instant) {
        loop {
            let confirmed = self.confirmed.notified();
            if self.latest.lock().sent.is_some_and(|newest| newest >= since) {
                return;
            }
            confirmed.await;
        }
    }
}
