//! Proof through raft that our member key still stands: what a cached read rests on.
//!
//! A delete of a key that never exists, if the member key is as we know it: it changes nothing, makes no revision and no event, is
//! taken by a full store, and its answer is that of this very request. It runs on a thread of its own where there is one
//! ([`crate::Pulse`]): a busy process is no dead one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_failpoint::switched;
use holdfast_storage::{Op, OpReply, Txn};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Session;
use super::standing::Standing;
use crate::layout;

const EVERY: Duration = Duration::from_millis(500);
/// How long a confirmed heartbeat entitles to begin something outside the store, from its send. The store answers within
/// this, or not at all.
const MEMBER_FOR: Duration = Duration::from_secs(5);
/// Longest time the watch may be behind what a heartbeat has seen.
const MAX_LAG: Duration = Duration::from_secs(1);

/// Starts to beat.
pub(super) fn start(session: Arc<Session>) -> JoinHandle<()> {
    match session.options.pulse.as_ref().map(|pulse| pulse.runtime.clone()) {
        Some(runtime) => runtime.spawn(run(session)),
        None => tokio::spawn(run(session)),
    }
}

/// Beats for ever.
async fn run(session: Arc<Session>) {
    let mut behind: Option<(i64, Instant)> = None;
    loop {
        session.beat(&mut behind).await;
        tokio::time::sleep(EVERY).await;
    }
}

impl Session {
    /// Our member key stood at `sent`, or later.
    pub(super) fn confirm(&self, standing: &Standing, sent: Duration) {
        if self.standing.load().id == standing.id {
            let sent = u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX);
            // Zero means none; a machine is never that young.
            self.confirmed.fetch_max(sent.max(1), Ordering::SeqCst);
        }
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

    async fn beat(&self, behind: &mut Option<(i64, Instant)>) {
        let standing = self.standing.load_full();
        let seen = *self.applied.borrow();
        let sent = self.clock.boottime();
        let txn = Txn {
            compares: vec![standing.fence()],
            then: vec![Op::delete(layout::NEVER)],
            otherwise: vec![Op::get(standing.key.clone())],
        };
        let storage = self.options.pulse.as_ref().map_or(&self.storage, |pulse| &pulse.storage);
        let reply = match storage.txn(txn).await {
            Ok(reply) => reply,
            Err(error) => return tracing::debug!(%error, "a heartbeat was not answered"),
        };
        if reply.revision < seen {
            // Somebody has put the store back to an older state. The watch finds the same when it starts again.
            tracing::error!("the store is behind what was seen of it");
            self.confirmed.store(0, Ordering::SeqCst);
            self.healthy.store(false, Ordering::SeqCst);
            return self.reconnect.notify_one();
        }
        if reply.succeeded {
            self.confirm(&standing, sent);
            if switched!("mutant.applied-from-header") {
                self.advance(reply.revision);
            }
        } else if let Some(OpReply::Get(item)) = reply.replies.into_iter().next()
            && let Err(error) = self.member_changed(&standing, item).await
        {
            tracing::warn!(%error, "cannot rejoin");
        }
        self.watch_lag(reply.revision, behind);
    }

    /// The heartbeat's revision is the yardstick of the watch.
    fn watch_lag(&self, revision: i64, behind: &mut Option<(i64, Instant)>) {
        if !self.healthy.load(Ordering::SeqCst) {
            // There is none to judge: it pauses before it starts again, longer than one may lag.
            *behind = None;
            return;
        }
        let applied = *self.applied.borrow();
        match behind {
            Some((expected, _)) if applied >= *expected => *behind = None,
            Some((_, since)) if since.elapsed() > MAX_LAG => {
                self.healthy.store(false, Ordering::SeqCst);
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
}
