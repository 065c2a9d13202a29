//! Trees of tokens, made and cut at random, against a model: no token lives whose ancestor is dead.

use holdfast_base::{Entropy, SeededEntropy};
use holdfast_core::Verb;
use serde_json::{Value, json};

use crate::bench::{Bench, until};

struct Node {
    id: String,
    accessor: String,
    parent: Option<usize>,
    batch: bool,
    alive: bool,
    /// Seconds since the start.
    ends: Option<u64>,
}

#[derive(Default)]
struct Model {
    nodes: Vec<Node>,
    now: u64,
}

impl Model {
    fn kill(&mut self, at: usize) {
        self.nodes[at].alive = false;
        for child in 0..self.nodes.len() {
            if self.nodes[child].parent == Some(at) && self.nodes[child].alive {
                self.kill(child);
            }
        }
    }

    /// The children of a token that goes alone become orphans; batch children have nothing that could be changed, so
    /// they go with it.
    fn kill_alone(&mut self, at: usize) {
        self.nodes[at].alive = false;
        for child in 0..self.nodes.len() {
            if self.nodes[child].parent == Some(at) && self.nodes[child].alive {
                match self.nodes[child].batch {
                    true => self.kill(child),
                    false => self.nodes[child].parent = None,
                }
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        for at in 0..self.nodes.len() {
            if self.nodes[at].alive && self.nodes[at].ends.is_some_and(|ends| ends <= self.now) {
                self.kill(at);
            }
        }
    }
}

struct Random(SeededEntropy);

impl Random {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0u8; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % bound as u64) as usize
    }
}

const ALL: &str = r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;

async fn create(bench: &Bench, model: &mut Model, random: &Random) {
    let of = random.below(model.nodes.len() + 1).checked_sub(1).filter(|of| {
        let node = &model.nodes[*of];
        node.alive && !node.batch
    });
    let (batch, orphan) = (random.below(4) == 0, random.below(5) == 0);
    let ttl = [600u64, 3600, 86_400][random.below(3)];
    let mut body = json!({"policies": ["all"], "ttl": ttl, "no_parent": orphan});
    if batch {
        body["type"] = json!("batch");
    }
    let by = of.map_or(bench.root.clone(), |of| model.nodes[of].id.clone());
    let auth = bench.ok(&by, Verb::Write, "auth/token/create", body).await.auth.unwrap();
    assert_eq!(auth.orphan, orphan);
    let parent = of.filter(|_| !orphan);
    model.nodes.push(Node {
        id: auth.client_token,
        accessor: auth.accessor,
        parent,
        batch,
        alive: true,
        ends: Some(model.now + ttl),
    });
}

async fn step(bench: &Bench, model: &mut Model, random: &Random) -> bool {
    let service: Vec<usize> = (0..model.nodes.len()).filter(|at| !model.nodes[*at].batch).collect();
    if service.is_empty() || random.below(2) == 0 {
        create(bench, model, random).await;
        return false;
    }
    let at = service[random.below(service.len())];
    let (id, accessor) = (model.nodes[at].id.clone(), model.nodes[at].accessor.clone());
    let revoke = async |path: &str, body: Value| bench.write(&format!("auth/token/{path}"), body).await;
    match random.below(8) {
        0 | 1 => {
            revoke("revoke", json!({ "token": id })).await;
            model.kill(at);
        }
        2 if model.nodes[at].alive => {
            revoke("revoke-accessor", json!({ "accessor": accessor })).await;
            model.kill(at);
        }
        3 if model.nodes[at].alive => {
            bench.ok(&id, Verb::Write, "auth/token/revoke-self", json!({})).await;
            model.kill(at);
        }
        4 | 5 => {
            revoke("revoke-orphan", json!({ "token": id })).await;
            if model.nodes[at].alive {
                model.kill_alone(at);
            }
        }
        6 => {
            let seconds = [30, 601, 4_000][random.below(3)];
            bench.advance(seconds);
            model.pass(seconds);
            return true;
        }
        _ => create(bench, model, random).await,
    }
    false
}

async fn grow(seed: u64) {
    let bench = Bench::open().await;
    bench.write("sys/policy/all", json!({ "policy": ALL })).await;
    let (mut model, random) = (Model::default(), Random(SeededEntropy::new(seed)));
    for number in 0..30 {
        let passed = step(&bench, &mut model, &random).await;
        for (at, node) in model.nodes.iter().enumerate() {
            // What ends with the time of its parent is ended a moment later, by the worker or by a tidy.
            if passed && !node.alive && bench.is_good(&node.id).await {
                bench.write("auth/token/tidy", json!({})).await;
                until(async || !bench.is_good(&node.id).await).await;
            }
            assert_eq!(bench.is_good(&node.id).await, node.alive, "seed {seed}, step {number}, token {at}");
        }
    }
    // And the root token.
    let alive = model.nodes.iter().filter(|node| node.alive && !node.batch).count() + 1;
    bench.write("auth/token/tidy", json!({})).await;
    until(async || {
        let listed = bench.ok(&bench.root, Verb::List, "auth/token/accessors", json!({})).await;
        crate::bench::data(listed)["keys"].as_array().unwrap().len() == alive
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_lives_whose_ancestor_is_dead() {
    futures::future::join_all((0..24).map(grow)).await;
}
