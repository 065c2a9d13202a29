//! The worker: finds what is due and deals with it, a few at a time for each mount, so that one dead database does not
//! delay the others.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use holdfast_barrier::view::{Check, StoreError, Txn};
use holdfast_base::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Leases,
    due::{self, Due},
    record::{self, Intent, Record},
};

/// How often the index is looked at.
const TICK: Duration = Duration::from_secs(1);

/// How often, in ticks, the buckets before the last one are looked at, and the time is stored.
const SLOW: u64 = 20;

/// Entries of one mount that wait in memory; more are found again later.
const LANE: usize = 1_000;

/// Entries of one mount that are worked on at a time.
const LANE_PARALLEL: usize = 8;

/// Older buckets that are looked into in one tick, so that what is due now does not wait for what was due last week.
const OLDER_AT_ONCE: i64 = 300;

/// Buckets that stay open after their time, for replicas whose clock is behind: ten minutes.
const OPEN_BUCKETS: i64 = 10;

/// Where the worker of any replica is: all buckets before `bucket` are empty, and it was `time` once.
#[derive(Serialize, Deserialize)]
struct Cursor {
    bucket: i64,
    time: Timestamp,
}

/// One entry of the index that is due.
struct Task {
    path: String,
    due: Due,
}

/// The work of one mount (or of none).
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Task>,
    running: usize,
}

#[derive(Default)]
struct Worker {
    lanes: HashMap<String, Lane>,
    known: HashSet<String>,
    ticks: u64,
    /// Next of the older buckets to be looked into.
    older: Option<i64>,
}

impl Leases {
    /// Expires leases, tokens and intents until `shutdown`; then finishes what was begun. Store failures are retried.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut worker = Worker::default();
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
        let (mut worker, mut running) = (Worker::default(), JoinSet::new());
        let _ = worker.look(self).await;
        worker.start(self, &mut running);
        while let Some(Ok((lane, path))) = running.join_next().await {
            worker.done(&lane, &path);
            worker.start(self, &mut running);
        }
    }

    async fn deal(self: &Arc<Self>, task: &Task) {
        let outcome = match &task.due {
            Due::Lease(id) => self.expire(id).await.map(drop),
            Due::Intent(serial) => self.sweep(serial).await,
            Due::Token(hash) => self.backends.expire_token(hash).await.map_err(Error::from),
            Due::Tombstone(owner) => self.bury(owner).await.map_err(Error::from),
        };
        let outcome = match outcome {
            Ok(()) => self.settle(task).await,
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
}

// === impl Worker ===

impl Worker {
    /// Finds what is due: in the last two buckets each time, in older ones from time to time, some at a time.
    async fn look(&mut self, leases: &Leases) -> Result<(), StoreError> {
        if leases.is_held() {
            return Ok(());
        }
        if self.ticks.is_multiple_of(SLOW) && self.older.is_none() {
            self.older = Some(self.keep_cursor(leases).await?);
        }
        self.ticks += 1;
        let now = leases.now();
        let current = due::bucket(now);
        if let Some(first) = self.older {
            let end = (current - 1).min(first.saturating_add(OLDER_AT_ONCE));
            for bucket in first..end {
                self.look_into(leases, bucket, now).await?;
            }
            self.older = (end < current - 1).then_some(end);
        }
        for bucket in [current - 1, current] {
            self.look_into(leases, bucket, now).await?;
        }
        Ok(())
    }

    async fn look_into(&mut self, leases: &Leases, bucket: i64, now: Timestamp) -> Result<(), StoreError> {
        let folder = due::folder(bucket);
        for name in leases.view.list(&folder, "", 0).await? {
            if due::time_of(&name).is_none_or(|time| time > now.as_millisecond()) {
                break;
            }
            let path = format!("{folder}{name}");
            if self.known.contains(&path) {
                continue;
            }
            match self.enter(leases, path).await {
                // One damaged record must not keep the others from being dealt with.
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Encode { .. })) => {
                    tracing::error!(%error, "what is due cannot be read");
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    async fn enter(&mut self, leases: &Leases, path: String) -> Result<(), StoreError> {
        let Some((due, _)) = leases.view.get_json::<Due>(&path).await? else { return Ok(()) };
        let lane = match &due {
            Due::Lease(id) => leases.record(id).await?.map(|(record, _)| record.mount_uuid),
            Due::Intent(serial) => {
                let intent = leases.view.get_json::<Intent>(&record::intent_path(serial)).await?;
                intent.map(|(intent, _)| intent.mount_uuid)
            }
            Due::Token(_) | Due::Tombstone(_) => None,
        };
        let lane = self.lanes.entry(lane.unwrap_or_default()).or_default();
        if lane.waiting.len() < LANE {
            self.known.insert(path.clone());
            lane.waiting.push_back(Task { path, due });
        }
        Ok(())
    }

    /// Reads the first bucket that may hold something, moves it on, and stores the time.
    async fn keep_cursor(&self, leases: &Leases) -> Result<i64, StoreError> {
        let stored = leases.view.get_json::<Cursor>("cursor").await?;
        if let Some((cursor, _)) = &stored {
            leases.time.at_least(cursor.time);
        }
        let now = leases.now();
        let (start, check) = match &stored {
            Some((cursor, revision)) => (cursor.bucket, Check::At(*revision)),
            None => (0, Check::Absent),
        };
        let (mut bucket, open) = (start, due::bucket(now) - OPEN_BUCKETS);
        if open.saturating_sub(start) > OLDER_AT_ONCE {
            bucket = first_bucket(leases).await?.clamp(start, open);
        }
        while bucket < open && leases.view.list(&due::folder(bucket), "", 1).await?.is_empty() {
            bucket += 1;
        }
        let seen = stored.map(|(cursor, _)| cursor.time);
        if bucket > start || seen.is_none_or(|seen| record::until(seen, now) >= TICK * 60) {
            let time = seen.map_or(now, |seen| seen.max(now));
            let mut txn = Txn::new();
            txn.check(leases.view.path("cursor"), check);
            txn.put_json(leases.view.path("cursor"), &Cursor { bucket, time })?;
            match leases.view.commit(txn).await {
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bucket)
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

/// The first bucket there is. Reads the whole index, so it is asked only at the very first start and after a long stop.
async fn first_bucket(leases: &Leases) -> Result<i64, StoreError> {
    let folders = leases.view.list("due/", "", 0).await?;
    Ok(folders.first().and_then(|folder| folder.trim_end_matches('/').parse().ok()).unwrap_or(i64::MAX))
}
