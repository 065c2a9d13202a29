//! What clients see while the disks under etcd are slow: each wait of a member for its disk (`fdatasync`) takes longer.

use std::{fmt, time::Duration};

use crate::{
    cluster::{Cluster, Settings},
    etcd::Disk,
    failover::load::{self, Failures, Kind, Load, Seen},
};

/// How long clients work before it counts, and while it does.
const BEFORE: Duration = Duration::from_secs(3);
const LENGTH: Duration = Duration::from_secs(15);

/// For replicas to read from memory again after etcd was started anew.
const SETTLED: Duration = Duration::from_secs(20);

/// One point of the curve.
pub struct Point {
    delay: Option<Duration>,
    /// Half of the writes took no longer; 99 of 100.
    writes: [Duration; 2],
    /// 99 of 100 reads of what others write, and of what nobody touches.
    reads: [Duration; 2],
    longest: Duration,
    failures: Failures,
    rate: f64,
    elections: u64,
}

/// Lets clients work with all disks slower by `delay`; without, members are not traced.
pub async fn measure(settings: &Settings, delay: Option<Duration>) -> anyhow::Result<Point> {
    let settings = Settings { disk: Disk::Synced, ..settings.clone() };
    let mut cluster = Cluster::start(&settings).await?;
    load::prepare(&cluster).await?;
    cluster.etcd.slow_disks(delay).await?;
    cluster.wait_until_serving().await?;
    // With the slowest of disks they may not come to that.
    let _ = tokio::time::timeout(SETTLED, load::wait_for_memory(&cluster)).await;
    let load = Load::start(&cluster, None)?;
    tokio::time::sleep(BEFORE).await;
    let (begin, term) = (tokio::time::Instant::now(), cluster.etcd.term().await?);
    tokio::time::sleep(LENGTH).await;
    let elections = cluster.etcd.term().await? - term;
    let seen: Vec<Seen> = load.stop().await?.into_iter().filter(|one| one.end() >= begin).collect();
    let took = |kind: Kind, share: f64| {
        let mut took: Vec<_> = seen.iter().filter(|one| one.kind == kind).map(|one| one.took).collect();
        took.sort_unstable();
        took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default()
    };
    Ok(Point {
        delay,
        writes: [took(Kind::Write, 0.5), took(Kind::Write, 0.99)],
        reads: [took(Kind::Read, 0.99), took(Kind::Untouched, 0.99)],
        longest: seen.iter().map(|one| one.took).max().unwrap_or_default(),
        failures: Failures::of(seen.iter()),
        rate: seen.len() as f64 / begin.elapsed().as_secs_f64(),
        elections,
    })
}

impl Point {
    /// The head of a table of them.
    pub const HEAD: &str = "| each `fdatasync` takes longer by | write p50 | write p99 | read of what others write p99 | read of what nobody touches p99 | longest request | reads failed | writes failed | stale | requests a second | elections |\n\
                            |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        match self.delay {
            Some(delay) => write!(f, "| {} ms", delay.as_millis())?,
            None => write!(f, "| nothing, and nobody traces")?,
        }
        let (writes, reads, longest) =
            (self.writes.map(ms).join(" | "), self.reads.map(ms).join(" | "), ms(self.longest));
        let Self { failures, rate, elections, .. } = self;
        write!(f, " | {writes} | {reads} | {longest} | {failures} | {rate:.0} | {elections} |")
    }
}
