//! The worker: finds what is due and deals with it, a number at a time for each mount, so that one dead database does not
//! delay the others.
//!
//! Of several replicas each takes the entries of its own shares ([`shares`]); what a share's owner leaves undone for
//! [`LEFT_BEHIND`] is taken by who has nothing else to do for the mount. A minute of the index that holds much is listed
//! rarely and worked off from memory: names alone, as they say all that is needed.

mod index;
mod shares;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use holdfast_barrier::view::{Check, StoreError, Txn};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::{index::Index, shares::Shares};
use super::{
    Error, Leases,
    due::Due,
    record::{self, Intent, Record},
};

/// How often the index is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Entries of one mount that wait in memory; more are found again later. What hangs does not take the room of others.
const WAITING: usize = 30_000;

/// Entries looked at in a row.
const STRETCH: usize = 4_096;

/// Entries of one mount that are worked on at a time.
const LANE_PARALLEL: usize = 64;

/// Entries that were due so long ago are dealt with whoever's they are, by those who have nothing of their own to do.
const LEFT_BEHIND: Duration = Duration::from_secs(30);

/// Entries of others that are taken at a time: the last of them, as their owner begins at the first.
const OF_OTHERS: usize = 1_024;

/// A condition on the share of an entry: it is still ours.
pub(super) type Guard = Option<(String, Check)>;

/// One entry of the index that is due.
struct Task {
    path: String,
    due: Due,
    guard: Guard,
}

/// The work of one mount (or of none).
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Task>,
    running: usize,
}

#[derive(Default)]
struct Worker {
    /// Most that may wait in a lane.
    room: usize,
    lanes: HashMap<String, Lane>,
    known: HashSet<String>,
    index: Index,
    shares: Shares,
}

impl Leases {
    /// Expires leases, tokens and intents until `shutdown`; then finishes what was begun. Store failures are retried.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        self.run_with(WAITING, shutdown).await;
    }

    /// The same, with so many entries of a mount in memory at most, beside those that are worked on.
    pub(super) async fn run_with(self: Arc<Self>, room: usize, shutdown: CancellationToken) {
        let mut worker = Worker::with(room);
        let mut running = JoinSet::<(String, String)>::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = running.join_next() => {
                    if let Ok((lane, path)) = done {
                        worker.done(&lane, &path);
                    }
                }
                _ = ticks.tick() => match worker.look(&self).await {
                    Ok(()) | Err(StoreError::Sealed | StoreError::Conflict) => {}
                    Err(error) => tracing::warn!(%error, "cannot look for what is due; trying again"),
                }
            }
            worker.start(&self, &mut running);
        }
        while running.join_next().await.is_some() {}
    }

    /// Deals with everything that is due now, and returns when it is done.
    #[cfg(test)]
    pub(super) async fn drain(self: &Arc<Self>) {
        let (mut worker, mut running) = (Worker::with(WAITING), JoinSet::new());
        let _ = worker.look(self).await;
        worker.start(self, &mut running);
        while let Some(Ok((lane, path))) = running.join_next().await {
            worker.done(&lane, &path);
            worker.start(self, &mut running);
        }
    }

    async fn deal(self: &Arc<Self>, task: &Task) {
        let outcome = match &task.due {
            Due::Lease(id) => self.expire(id, &task.guard).await,
            Due::Intent(serial) => self.sweep(serial, &task.guard).await,
            Due::Token(hash) => self.backends.expire_token(hash).await.map(|()| false).map_err(Error::from),
            Due::Tombstone(owner) => self.bury(owner).await.map(|()| false).map_err(Error::from),
        };
        let outcome = match outcome {
            Ok(true) => Ok(()),
            Ok(false) => self.settle(task).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) | Err(Error::Store(StoreError::Conflict | StoreError::Sealed)) => {}
            Err(error) => tracing::warn!(%error, "what is due could not be dealt with; trying again"),
        }
    }

    /// Removes the entry, unless a lease or an intent still stands by it.
    async fn settle(&self, task: &Task) -> Result<(), Error> {
        let (path, due) = match &task.due {
            Due::Lease(id) => {
                let path = record::path(id);
                let due = self.view.get_json::<Record>(&path).await?.map(|(record, revision)| (record.due, revision));
                (path, due)
            }
            Due::Intent(serial) => {
                let path = record::intent_path(serial);
                let due = self.view.get_json::<Intent>(&path).await?.map(|(intent, revision)| (intent.due, revision));
                (path, due)
            }
            Due::Token(_) | Due::Tombstone(_) => {
                let mut txn = Txn::new();
                txn.delete(self.view.path(&task.path));
                self.view.commit(txn).await?;
                return Ok(());
            }
        };
        let mut txn = Txn::new();
        match due {
            Some((due, _)) if task.due.is_at(&task.path, due) => return Ok(()),
            Some((_, revision)) => txn.check(self.view.path(&path), Check::At(revision)),
            None => txn.check(self.view.path(&path), Check::Absent),
        };
        txn.delete(self.view.path(&task.path));
        self.view.commit(txn).await?;
        Ok(())
    }

    /// What an entry is worked on together with: the uuid of a mount, or nothing.
    async fn lane(&self, due: &Due) -> Result<String, StoreError> {
        let mount = match due {
            Due::Lease(id) => match self.backends.mount_of(id) {
                Some(mount) => Some(mount),
                None => self.record(id).await?.map(|(record, _)| record.mount_uuid),
            },
            Due::Intent(serial) => {
                let intent = self.view.get_json::<Intent>(&record::intent_path(serial)).await?;
                intent.map(|(intent, _)| intent.mount_uuid)
            }
            Due::Token(_) | Due::Tombstone(_) => None,
        };
        Ok(mount.unwrap_or_default())
    }
}

// === impl Worker ===

impl Worker {
    fn with(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Takes what is due into the lanes, as much as there is room for in each.
    async fn look(&mut self, leases: &Leases) -> Result<(), StoreError> {
        if leases.is_held() {
            return Ok(());
        }
        if self.shares.look(leases).await? {
            // What was passed by as somebody else's may be ours now.
            self.index = Index::default();
        }
        self.index.look(leases).await?;
        let now = leases.now();
        let (mut seen, mut of_others) = (0_usize, VecDeque::new());
        while let Some(path) = self.index.next(now) {
            seen += 1;
            if seen.is_multiple_of(STRETCH) {
                tokio::task::yield_now().await;
            }
            if self.known.contains(&path) {
                continue;
            }
            match self.shares.guard(&path) {
                Some(guard) => self.enter(leases, path, guard).await?,
                None if Due::of_path(&path).0.saturating_add(LEFT_BEHIND.as_millis() as i64)
                    <= now.as_millisecond() =>
                {
                    of_others.push_back(path);
                    if of_others.len() > OF_OTHERS {
                        of_others.pop_front();
                        self.index.left_some();
                    }
                }
                None => {}
            }
        }
        self.help(leases, of_others).await
    }

    /// Takes entries of others into the lanes in which nothing waits.
    async fn help(&mut self, leases: &Leases, entries: VecDeque<String>) -> Result<(), StoreError> {
        let busy = |lane: &(_, &Lane)| !lane.1.waiting.is_empty();
        let busy: HashSet<String> = self.lanes.iter().filter(busy).map(|(name, _)| String::clone(name)).collect();
        for path in entries {
            if let (_, Some(due)) = Due::of_path(&path)
                && busy.contains(&leases.lane(&due).await.unwrap_or_default())
            {
                self.index.left_some();
                continue;
            }
            self.enter(leases, path, None).await?;
        }
        Ok(())
    }

    /// Takes an entry into its lane, unless there is no room, or it cannot be read: one damaged record must not keep the
    /// others from being dealt with.
    async fn enter(&mut self, leases: &Leases, path: String, guard: Guard) -> Result<(), StoreError> {
        match self.admit(leases, path, guard).await {
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Encode { .. })) => {
                tracing::error!(%error, "what is due cannot be read");
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn admit(&mut self, leases: &Leases, path: String, guard: Guard) -> Result<(), StoreError> {
        let (_, named) = Due::of_path(&path);
        let due = match named {
            Some(due) => due,
            None => match leases.view.get_json::<Due>(&path).await? {
                Some((due, _)) => due,
                None => return Ok(()),
            },
        };
        let lane = self.lanes.entry(leases.lane(&due).await?).or_default();
        if lane.waiting.len() >= self.room {
            self.index.left_some();
            return Ok(());
        }
        self.known.insert(path.clone());
        lane.waiting.push_back(Task { path, due, guard });
        Ok(())
    }

    /// Starts what may run.
    fn start(&mut self, leases: &Arc<Leases>, running: &mut JoinSet<(String, String)>) {
        for (name, lane) in &mut self.lanes {
            while lane.running < LANE_PARALLEL {
                let Some(task) = lane.waiting.pop_front() else { break };
                lane.running += 1;
                let (leases, name) = (leases.clone(), name.clone());
                running.spawn(async move {
                    leases.deal(&task).await;
                    (name, task.path)
                });
            }
        }
        self.lanes.retain(|_, lane| lane.running > 0 || !lane.waiting.is_empty());
    }

    fn done(&mut self, lane: &str, path: &str) {
        self.known.remove(path);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.running -= 1;
        }
    }
}
