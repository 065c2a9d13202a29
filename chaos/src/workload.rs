//! Clients of all replicas, and what they ask: registers (kv v2 with check-and-set), and things with a number of uses (tokens,
//! wrapped answers, secret ids, tokens that are revoked).

mod registers;
mod things;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use futures::future::join_all;
use holdfast_client::{Answer, Call, Client};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    cluster::Cluster,
    dice::Dice,
    history::{History, Outcome},
    plan::REPLICAS,
};
use things::Things;

/// Clients at each replica.
const CLIENTS: usize = 4;
/// Between two requests of a client.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(15));
/// After a request without an answer, as any client library does.
const AFTER_FAILURE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

/// The clients at work.
pub struct Workload {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    history: Arc<History>,
    things: Things,
    stop: AtomicBool,
    names: AtomicUsize,
    /// Answers that no fault explains.
    strange: Mutex<Vec<String>>,
}

/// One client of one replica.
struct Worker {
    number: usize,
    client: Client,
    dice: Dice,
    shared: Arc<Shared>,
    /// Registers and the version it saw last.
    seen: std::collections::HashMap<String, u64>,
}

/// Makes the mounts and roles that the clients use.
pub async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    let client = cluster.patient(0)?;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await?;
    client.write("sys/auth/approle", json!({"type": "approle"})).await?;
    client.write("auth/approle/role/chaos", json!({"token_policies": "default", "token_ttl": "10m"})).await?;
    Ok(())
}

impl Workload {
    /// Lets the clients begin.
    pub async fn start(cluster: &Cluster, seed: u64, history: Arc<History>) -> anyhow::Result<Self> {
        let role = cluster.patient(0)?.read("auth/approle/role/chaos/role-id").await?;
        let role = role.and_then(|answer| answer.data).context("no role id")?["role_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let shared = Arc::new(Shared {
            history,
            things: Things::new(role),
            stop: AtomicBool::new(false),
            names: AtomicUsize::new(0),
            strange: Mutex::default(),
        });
        let mut clients = Vec::new();
        for number in 0..REPLICAS * CLIENTS {
            let worker = Worker {
                number,
                client: cluster.client(number % REPLICAS)?,
                dice: Dice::new(seed, 1 + number as u64),
                shared: shared.clone(),
                seen: std::collections::HashMap::new(),
            };
            clients.push(tokio::spawn(worker.work()));
        }
        Ok(Self { shared, clients })
    }

    /// Lets all clients end their last request. The answers that no fault explains.
    pub async fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::SeqCst);
        join_all(self.clients).await;
        std::mem::take(&mut *self.shared.strange.lock())
    }
}

/// Reads every register once more at every replica.
pub async fn read_all(cluster: &Cluster, history: &History) -> anyhow::Result<()> {
    for replica in 0..REPLICAS {
        let client = cluster.patient(replica)?;
        for name in client.list("kv/metadata").await?.into_iter().filter(|name| registers::is_ours(name)) {
            let call = history.now();
            let answer = client.call(Call { path: format!("kv/data/{name}"), ..Call::default() }).await?;
            let request = registers::read_of(&name, &answer).with_context(|| format!("{name}: {}", answer.status))?;
            history.record(REPLICAS * CLIENTS + replica, call, request, Outcome::Ok);
        }
    }
    Ok(())
}

impl Worker {
    async fn work(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let outcome = match self.dice.below(100) {
                0..60 => self.use_register().await,
                60..72 => self.make_thing().await,
                _ => self.use_thing().await,
            };
            let (least, most) = if outcome == Outcome::Unknown { AFTER_FAILURE } else { PAUSE };
            tokio::time::sleep(self.dice.between(least, most)).await;
        }
    }

    /// A name that nothing else bears.
    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.shared.names.fetch_add(1, Ordering::Relaxed))
    }

    /// The answer, if it is one that says what happened.
    async fn ask(&self, client: &Client, call: Call) -> Option<Answer> {
        let answer = client.call(call).await.ok()?;
        // Overloaded, unavailable, sealed for a moment: nobody knows.
        (answer.status < 500 && answer.status != 429).then_some(answer)
    }

    fn strange(&self, what: &str, answer: &Answer) -> Outcome {
        let text = String::from_utf8_lossy(&answer.body);
        self.shared.strange.lock().push(format!("{what}: {} {}", answer.status, text.trim()));
        Outcome::Unknown
    }
}

fn post(path: String, body: Value) -> Call {
    Call { method: Method::POST, path, body: Some(body), ..Call::default() }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}
