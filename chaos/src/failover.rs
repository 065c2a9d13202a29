//! What clients of the other replicas notice when one of three dies, leaves or becomes slow under load, or the store's leader
//! dies.
//!
//! Replicas read from memory. At each of the two that stay, clients write registers of their own, read registers that others
//! write, and read registers that nobody touches. A value below the last one whose write was answered is stale.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use holdfast_client::{Call, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{cluster::Cluster, link::Weather, plan::REPLICAS};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of a replica.
    Killed,
    /// SIGTERM of a replica.
    Left,
    /// Each piece between a replica and the store takes a second.
    Slow,
    /// SIGKILL of etcd's leader.
    Leader,
}

/// What clients of the replicas that stay noticed of it.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Of what.
    pub fault: Fault,
    /// Longest write.
    pub write: Duration,
    /// Longest read of a register that others write.
    pub read: Duration,
    /// Longest read of a register that nobody touches.
    pub untouched: Duration,
    /// The same three before it happened.
    pub before: [Duration; 3],
    /// Reads that failed.
    pub failed_reads: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Reads that showed less than was answered before.
    pub stale: u64,
    /// Requests of all kinds.
    pub requests: u64,
}

/// The replica that something happens to.
const VICTIM: usize = REPLICAS - 1;
/// How long before, and how long after.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(8);
/// Clients of each kind at each replica.
const CLIENTS: usize = 2;
/// Between two requests of a client: the machine is to have room, as it is the fault that is measured.
const PACE: Duration = Duration::from_millis(4);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
    Untouched,
}

/// What all clients share.
#[derive(Default)]
struct Shared {
    /// Last answered number of each register.
    answered: Vec<AtomicU64>,
    seen: Mutex<Vec<Seen>>,
    stale: AtomicU64,
    over: AtomicBool,
}

struct Seen {
    kind: Kind,
    begun: Instant,
    took: Duration,
    ok: bool,
}

/// Lets clients work, makes it happen, and says what they noticed. The cluster is whole again afterwards.
pub async fn measure(cluster: &mut Cluster, fault: Fault) -> anyhow::Result<Figures> {
    let registers = VICTIM * CLIENTS;
    prepare(cluster, registers).await?;
    let shared =
        Arc::new(Shared { answered: (0..registers).map(|_| AtomicU64::new(0)).collect(), ..Shared::default() });
    let mut clients = JoinSet::new();
    for register in 0..registers {
        let client = cluster.patient(register / CLIENTS)?;
        for kind in [Kind::Write, Kind::Read, Kind::Untouched] {
            clients.spawn(work(client.clone(), kind, register, shared.clone()));
        }
    }
    tokio::time::sleep(BEFORE).await;
    let at = Instant::now();
    let leader = begin(cluster, fault).await?;
    tokio::time::sleep(AFTER).await;
    shared.over.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    end(cluster, fault, leader)?;
    cluster.wait_until_serving().await?;
    Ok(Figures::of(fault, &shared, at))
}

async fn prepare(cluster: &Cluster, registers: usize) -> anyhow::Result<()> {
    let client = cluster.patient(0)?;
    // It is there from the second time on.
    let _ = client.write("sys/mounts/failover", json!({"type": "kv"})).await;
    for register in 0..registers {
        client.write(&format!("failover/written-{register}"), json!({"n": 0})).await?;
        client.write(&format!("failover/untouched-{register}"), json!({"n": 0})).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    for replica in 0..REPLICAS {
        while !reads_memory(&cluster.patient(replica)?).await? {
            ensure!(Instant::now() < deadline, "replica {replica} does not come to read from memory");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

async fn reads_memory(client: &Client) -> anyhow::Result<bool> {
    let status = client.read("sys/ha-status").await?.and_then(|answer| answer.data).context("no status")?;
    let nodes = status["nodes"].as_array().context("no nodes")?;
    Ok(nodes.iter().any(|node| node["answers"] == true && node["reads_memory"] == true))
}

async fn begin(cluster: &mut Cluster, fault: Fault) -> anyhow::Result<usize> {
    match fault {
        Fault::Killed => cluster.replicas[VICTIM].process.kill(),
        Fault::Left => cluster.replicas[VICTIM].process.stop().await,
        Fault::Slow => {
            let slow = Weather { delay: Duration::from_secs(1), ..Weather::default() };
            cluster.replicas[VICTIM].store.iter().for_each(|link| link.set(slow));
        }
        Fault::Leader => {
            let leader = cluster.etcd.leader().await.context("etcd has no leader")?;
            cluster.etcd.members()[leader].process.kill();
            return Ok(leader);
        }
    }
    Ok(0)
}

fn end(cluster: &mut Cluster, fault: Fault, leader: usize) -> anyhow::Result<()> {
    match fault {
        Fault::Killed | Fault::Left => cluster.replicas[VICTIM].process.start(),
        Fault::Slow => {
            cluster.replicas[VICTIM].store.iter().for_each(|link| link.set(Weather::default()));
            Ok(())
        }
        Fault::Leader => cluster.etcd.members()[leader].process.start(),
    }
}

/// One client, until it is over.
async fn work(client: Client, kind: Kind, register: usize, shared: Arc<Shared>) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 1u64.. {
        pace.tick().await;
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        // Readers look at the register of another client, mostly at the other replica.
        let other = (register + CLIENTS) % shared.answered.len();
        let begun = Instant::now();
        let ok = match kind {
            Kind::Write => {
                let done = client.write(&format!("failover/written-{register}"), json!({"n": number})).await.is_ok();
                if done {
                    shared.answered[register].fetch_max(number, Ordering::SeqCst);
                }
                done
            }
            Kind::Read => {
                let floor = shared.answered[other].load(Ordering::SeqCst);
                match read(&client, &format!("failover/written-{other}")).await {
                    Some(found) => {
                        shared.stale.fetch_add(u64::from(found < floor), Ordering::SeqCst);
                        true
                    }
                    None => false,
                }
            }
            Kind::Untouched => read(&client, &format!("failover/untouched-{other}")).await == Some(0),
        };
        shared.seen.lock().push(Seen { kind, begun, took: begun.elapsed(), ok });
    }
}

async fn read(client: &Client, path: &str) -> Option<u64> {
    let answer = client.call(Call { path: path.to_owned(), ..Call::default() }).await.ok()?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    body["data"]["n"].as_u64()
}

impl Figures {
    fn of(fault: Fault, shared: &Shared, at: Instant) -> Self {
        let seen = shared.seen.lock();
        let longest = |kind: Kind, after: bool| {
            // A request that was under way when it happened counts as one after it.
            let of = seen.iter().filter(|one| one.kind == kind && (one.begun + one.took >= at) == after);
            of.map(|one| one.took).max().unwrap_or_default()
        };
        let failed =
            |writes: bool| seen.iter().filter(|one| !one.ok && (one.kind == Kind::Write) == writes).count() as u64;
        Self {
            fault,
            write: longest(Kind::Write, true),
            read: longest(Kind::Read, true),
            untouched: longest(Kind::Untouched, true),
            before: [Kind::Write, Kind::Read, Kind::Untouched].map(|kind| longest(kind, false)),
            failed_reads: failed(false),
            failed_writes: failed(true),
            stale: shared.stale.load(Ordering::SeqCst),
            requests: seen.len() as u64,
        }
    }

    /// The head of a table of them.
    pub const HEAD: &str = "| fault | longest write | longest read of what others write | longest read of what nobody touches | the same before | reads failed | writes failed | stale | requests |\n\
                            |---|---:|---:|---:|---:|---:|---:|---:|---:|";
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Killed => "a replica is killed",
            Fault::Left => "a replica is stopped (SIGTERM)",
            Fault::Slow => "a replica hears from the store a second late",
            Fault::Leader => "etcd's leader is killed",
        };
        let ms = |time: Duration| format!("{} ms", time.as_millis());
        let before = self.before.map(ms).join(" / ");
        let Self { write, read, untouched, failed_reads, failed_writes, stale, requests, .. } = self;
        let (write, read, untouched) = (ms(*write), ms(*read), ms(*untouched));
        write!(
            f,
            "| {fault} | {write} | {read} | {untouched} | {before} | {failed_reads} | {failed_writes} | {stale} | {requests} |"
        )
    }
}
