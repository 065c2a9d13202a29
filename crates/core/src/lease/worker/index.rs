//! Which minutes of the expiry index are looked into, and when.
//!
//! Names are encrypted, so a minute is listed as a whole. One with few names is listed at every tick; one with many is
//! worked off from memory and listed again from time to time, for what came in since.

use std::collections::{BTreeMap, VecDeque};

use holdfast_barrier::view::{Check, StoreError, Txn};
use holdfast_base::Timestamp;
use serde::{Deserialize, Serialize};

use super::TICK;
use crate::lease::{
    Leases,
    due::{self, Due},
    record,
};

/// How often, in ticks, the minutes before the last one are looked into, and the time is stored; half as long after
/// something was left there.
const SLOW: u64 = 20;

/// Older minutes that are looked into in one tick, so that what is due now does not wait for what was due last week.
const OLDER_AT_ONCE: i64 = 300;

/// Minutes that are asked for one by one whether they are empty, a week of them: if there are more, the whole index is read.
const WALK: i64 = 7 * 24 * 60;

/// Minutes that stay open after their time, for replicas whose clock is behind: ten.
const OPEN: i64 = 10;

/// Names of a minute that is listed at every tick.
const FEW: usize = 2_000;

/// Ticks between two lists of a minute with more.
const RARELY: u64 = 10;

/// Where the worker of any replica is: all minutes before `bucket` are empty, and it was `time` once.
#[derive(Serialize, Deserialize)]
struct Cursor {
    bucket: i64,
    time: Timestamp,
}

/// A minute as it was listed.
#[derive(Default)]
struct Minute {
    /// Those that are not taken yet, by time.
    names: VecDeque<String>,
    size: usize,
    listed: u64,
}

/// What is known of the index.
#[derive(Default)]
pub(super) struct Index {
    minutes: BTreeMap<i64, Minute>,
    ticks: u64,
    /// Next of the older minutes to be looked into.
    older: Option<i64>,
    /// Tick at which they are looked into again.
    older_at: u64,
}

impl Index {
    /// One tick: lists what is to be listed now.
    pub async fn look(&mut self, leases: &Leases) -> Result<(), StoreError> {
        if self.ticks >= self.older_at && self.older.is_none() {
            self.older = Some(keep_cursor(leases).await?);
            self.older_at = self.ticks + SLOW;
        }
        self.ticks += 1;
        let current = due::bucket(leases.now());
        if let Some(first) = self.older {
            let end = (current - 1).min(first.saturating_add(OLDER_AT_ONCE));
            for bucket in first..end {
                self.list(leases, bucket).await?;
            }
            self.older = (end < current - 1).then_some(end);
        }
        for bucket in [current - 1, current] {
            self.list(leases, bucket).await?;
        }
        // What is left of those that are over is listed again with the older ones.
        self.minutes.retain(|bucket, minute| !minute.names.is_empty() || *bucket >= current - 1);
        Ok(())
    }

    async fn list(&mut self, leases: &Leases, bucket: i64) -> Result<(), StoreError> {
        let minute = self.minutes.entry(bucket).or_default();
        if minute.size > FEW && self.ticks < minute.listed + RARELY {
            return Ok(());
        }
        minute.names = leases.view.list(&due::folder(bucket), "", 0).await?.into();
        (minute.size, minute.listed) = (minute.names.len(), self.ticks);
        Ok(())
    }

    /// Something was passed over that is to be dealt with.
    pub fn left_some(&mut self) {
        self.older_at = self.older_at.min(self.ticks + SLOW / 2);
    }

    /// The path of the next entry whose time has come. One that is not dealt with comes back with a later list.
    pub fn next(&mut self, now: Timestamp) -> Option<String> {
        for (bucket, minute) in &mut self.minutes {
            let is_due = |name: &String| Due::of_path(name).0 <= now.as_millisecond();
            if let Some(name) = minute.names.pop_front_if(|name| is_due(name)) {
                return Some(format!("{}{name}", due::folder(*bucket)));
            }
        }
        None
    }
}

/// Reads the first minute that may hold something, moves it on, and stores the time.
async fn keep_cursor(leases: &Leases) -> Result<i64, StoreError> {
    let stored = leases.view.get_json::<Cursor>("cursor").await?;
    if let Some((cursor, _)) = &stored {
        leases.time.at_least(cursor.time);
    }
    let now = leases.now();
    let (start, check) = match &stored {
        Some((cursor, revision)) => (cursor.bucket, Check::At(*revision)),
        None => (0, Check::Absent),
    };
    let (mut bucket, open) = (start, due::bucket(now) - OPEN);
    if open.saturating_sub(start) > WALK {
        bucket = first_bucket(leases).await?.clamp(start, open);
    }
    while bucket < open && leases.view.count(&due::folder(bucket)).await? == 0 {
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

/// The first minute there is. Reads the whole index, so it is asked only at the very first start and after a long stop.
async fn first_bucket(leases: &Leases) -> Result<i64, StoreError> {
    let folders = leases.view.list("due/", "", 0).await?;
    Ok(folders.first().and_then(|folder| folder.trim_end_matches('/').parse().ok()).unwrap_or(i64::MAX))
}
