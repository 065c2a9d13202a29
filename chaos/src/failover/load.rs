//! Clients at each replica that write registers of their own, read registers that others write, and read registers that nobody
//! touches. A value below the last one whose write was answered is stale.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use holdfast_client::{Call, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{cluster::Cluster, plan::REPLICAS};

/// Clients of each kind at each replica.
const CLIENTS: usize = 2;
const REGISTERS: usize = REPLICAS * CLIENTS;
/// Between two requests of a client: the machine is to have room, as it is the fault that is measured.
const PACE: Duration = Duration::from_millis(6);
/// For replicas to read from memory.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Writes a register of its own.
    Write,
    /// Reads a register that a client of another replica writes.
    Read,
    /// Reads a register that nobody writes.
    Untouched,
}

/// One request.
pub struct Seen {
    /// Of a client of this replica.
    pub replica: usize,
    /// What it was.
    pub kind: Kind,
    register: usize,
    begun: Instant,
    /// How long it took.
    pub took: Duration,
    /// It was done.
    pub ok: bool,
    /// It showed less than was answered before it.
    pub stale: bool,
}

/// What went wrong among requests; shown as cells of a table.
pub struct Failures {
    /// Reads that failed.
    pub reads: usize,
    /// Writes that failed.
    pub writes: usize,
    /// Reads that showed less than was answered before.
    pub stale: usize,
}

impl Failures {
    /// Counts them.
    pub fn of<'a>(seen: impl Iterator<Item = &'a Seen> + Clone) -> Self {
        let failed = |writes: bool| seen.clone().filter(|one| !one.ok && (one.kind == Kind::Write) == writes).count();
        Self { reads: failed(false), writes: failed(true), stale: seen.clone().filter(|one| one.stale).count() }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, writes, stale } = self;
        write!(f, "{reads} | {writes} | {stale}")
    }
}

/// The clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    registers: [Register; REGISTERS],
    seen: Mutex<Vec<Seen>>,
    over: AtomicBool,
}

struct Register {
    /// Last number whose write was answered.
    answered: AtomicU64,
    /// First number whose write was not: it may come at any later time.
    doubtful: AtomicU64,
}

/// Makes the registers.
pub async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    let client = cluster.patient(0)?;
    client.write("sys/mounts/failover", json!({"type": "kv"})).await?;
    let paths = (0..REGISTERS).flat_map(|number| [written(number), untouched(number)]);
    let zero = |path: String| {
        let client = client.clone();
        async move { client.write(&path, json!({"n": 0})).await }
    };
    try_join_all(paths.map(zero)).await?;
    Ok(())
}

/// Waits until each replica reads from memory.
pub async fn wait_for_memory(cluster: &Cluster) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
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

impl Load {
    /// Lets the clients begin; those of one replica through its link.
    pub fn start(cluster: &Cluster, by_link: Option<usize>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for register in 0..REGISTERS {
            let replica = register / CLIENTS;
            let linked = by_link == Some(replica);
            let client = if linked { cluster.patient_by_link(replica)? } else { cluster.patient(replica)? };
            for kind in Kind::ALL {
                clients.spawn(work(client.clone(), kind, register, shared.clone()));
            }
        }
        Ok(Self { shared, clients })
    }

    /// Whether each client was answered after this moment.
    pub fn all_served_since(&self, moment: Instant) -> bool {
        served_again(self.shared.seen.lock().iter(), moment).is_some()
    }

    /// Lets all clients end their last request. What they saw.
    pub async fn stop(mut self) -> anyhow::Result<Vec<Seen>> {
        self.shared.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        Ok(std::mem::take(&mut *self.shared.seen.lock()))
    }
}

/// How long after this moment each client that did anything was answered, if each was.
pub fn served_again<'a>(seen: impl Iterator<Item = &'a Seen>, moment: Instant) -> Option<Duration> {
    let mut first: HashMap<(usize, Kind), Option<Instant>> = HashMap::new();
    for one in seen {
        let answer = first.entry((one.register, one.kind)).or_default();
        if one.ok && one.end() >= moment && answer.is_none() {
            *answer = Some(one.end());
        }
    }
    let last = first.into_values().collect::<Option<Vec<_>>>()?.into_iter().max()?;
    Some(last - moment)
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
        let other = (register + CLIENTS) % REGISTERS;
        let (own, others) = (&shared.registers[register], &shared.registers[other]);
        let begun = Instant::now();
        let (ok, stale) = match kind {
            Kind::Write => {
                let done = client.write(&written(register), json!({"n": number})).await.is_ok();
                let of = if done { &own.answered } else { &own.doubtful };
                if done {
                    of.fetch_max(number, Ordering::SeqCst)
                } else {
                    of.fetch_min(number, Ordering::SeqCst)
                };
                (done, false)
            }
            Kind::Read => {
                let floor = others.answered.load(Ordering::SeqCst).min(others.doubtful.load(Ordering::SeqCst));
                let found = read(&client, &written(other)).await;
                (found.is_some(), found.is_some_and(|found| found < floor))
            }
            Kind::Untouched => (read(&client, &untouched(other)).await == Some(0), false),
        };
        let (replica, took) = (register / CLIENTS, begun.elapsed());
        shared.seen.lock().push(Seen { replica, kind, register, begun, took, ok, stale });
    }
}

async fn read(client: &Client, path: &str) -> Option<u64> {
    let answer = client.call(Call { path: path.to_owned(), ..Call::default() }).await.ok()?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    body["data"]["n"].as_u64()
}

fn written(register: usize) -> String {
    format!("failover/written-{register}")
}

fn untouched(register: usize) -> String {
    format!("failover/untouched-{register}")
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Write, Self::Read, Self::Untouched];
}

impl Seen {
    /// When it ended.
    pub fn end(&self) -> Instant {
        self.begun + self.took
    }
}

impl Default for Register {
    fn default() -> Self {
        Self { answered: AtomicU64::new(0), doubtful: AtomicU64::new(u64::MAX) }
    }
}
