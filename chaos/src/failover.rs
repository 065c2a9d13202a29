//! What clients notice when replicas, etcd's members or the links between them fail under load: the rows of a table ([`rows`]),
//! each measured on a cluster of its own.
//!
//! Replicas read from memory; the first member of etcd leads, and all replicas talk to it. Clients ([`load`]) work before, during
//! and after the fault. What they saw at the replica that it happens to is told apart from what they saw at the others.

pub mod load;
pub mod rows;

use std::{fmt, time::Duration};

use anyhow::ensure;
use tokio::time::Instant;

use crate::{cluster::Cluster, failover::load::Load, nemesis, plan::Plan};
use load::{Failures, Kind, Seen};
use rows::Row;

/// How long before the fault, and after all are served again.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(1);
/// For all to be served again.
const PATIENCE: Duration = Duration::from_secs(120);

/// What clients noticed of a fault.
pub struct Figures {
    row: &'static Row,
    elsewhere: Noticed,
    there: Option<Noticed>,
}

/// The same of clients of some replicas.
struct Noticed {
    /// Longest request of each kind.
    longest: [Duration; 3],
    /// The same before it happened.
    before: [Duration; 3],
    failures: Failures,
    requests: usize,
    /// From the end of the fault until each of them was answered again.
    again: Duration,
}

/// Lets clients work, makes it happen, and says what they noticed.
pub async fn measure(cluster: &mut Cluster, row: &'static Row) -> anyhow::Result<Figures> {
    cluster.etcd.put_ballast(row.ballast).await?;
    cluster.etcd.lead(0).await?;
    load::prepare(cluster).await?;
    load::wait_for_memory(cluster).await?;
    let load = Load::start(cluster, row.at)?;
    tokio::time::sleep(BEFORE).await;
    let begin = Instant::now();
    let plan = Plan { seed: 0, election: Duration::ZERO, steps: row.steps.to_vec() };
    let over = nemesis::unleash(cluster, &plan).await?;
    let deadline = over + PATIENCE;
    while !load.all_served_since(over) {
        ensure!(Instant::now() < deadline, "not all clients are served again after: {}", row.what);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(AFTER).await;
    let seen = load.stop().await?;
    let is_there = |one: &&Seen| Some(one.replica) == row.at;
    let (there, elsewhere) = seen.iter().partition::<Vec<_>, _>(is_there);
    Ok(Figures {
        row,
        elsewhere: Noticed::of(&elsewhere, begin, over),
        there: row.at.map(|_| Noticed::of(&there, begin, over)),
    })
}

impl Noticed {
    fn of(seen: &[&Seen], begin: Instant, over: Instant) -> Self {
        let longest = |kind: Kind, after: bool| {
            // A request that was under way when it happened counts as one after it.
            let of = seen.iter().filter(|one| one.kind == kind && (one.end() >= begin) == after);
            of.map(|one| one.took).max().unwrap_or_default()
        };
        Self {
            longest: Kind::ALL.map(|kind| longest(kind, true)),
            before: Kind::ALL.map(|kind| longest(kind, false)),
            failures: Failures::of(seen.iter().copied()),
            requests: seen.len(),
            again: load::served_again(seen.iter().copied(), over).unwrap_or_default(),
        }
    }
}

impl Figures {
    /// The head of a table of them.
    pub const HEAD: &str = "| # | fault | longest write | longest read of what others write | longest read of what nobody touches | the same before | reads failed | writes failed | stale | requests | all served again after |\n\
                            |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {}", self.row.number, self.row.what, self.elsewhere)?;
        match &self.there {
            Some(there) => write!(f, "\n| | … for its own clients | {there}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{} ms", time.as_millis());
        let (longest, before, again) =
            (self.longest.map(ms).join(" | "), self.before.map(ms).join(" / "), ms(self.again));
        let Self { failures, requests, .. } = self;
        write!(f, "{longest} | {before} | {failures} | {requests} | {again} |")
    }
}
