//! The audit log of the real binary: every answered request has its two entries, whatever happens to the server, and nothing
//! can be done to the file unnoticed.
//!
//! `HOLDFAST_AUDIT_REQUESTS` says how many requests the soak makes (`make audit-soak`: 100,000).

mod cold;
mod mix;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use self::mix::{Answered, Work, furnish};
use crate::fixture::{Server, etcd::Etcd, folder, free_port, unseal};

const WORKERS: usize = 16;

fn configuration(folder: &Path) -> String {
    format!(
        "storage \"file\" {{ path = {:?} }}\n{}",
        folder.join("data").display().to_string(),
        device(folder, "main", "audit.log")
    )
}

/// An audit device without which nothing is answered.
pub fn device(folder: &Path, name: &str, file: &str) -> String {
    let file = folder.join(file).display().to_string();
    format!("audit \"file\" {name:?} {{\n options {{\n file_path = {file:?}\n required = true\n }}\n}}\n")
}

/// A server with two devices.
struct Node {
    server: Server,
    home: TempDir,
    /// The rotated ones of the first device after the one that is written now.
    main: Vec<PathBuf>,
    second: PathBuf,
}

impl Node {
    async fn start(storage: impl FnOnce(&Path) -> String) -> Self {
        let (home, port, peer) = (folder(), free_port(), free_port());
        let at = home.path();
        let listener = format!(
            "listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{peer}\"\n \
             tls_disable = true\n}}\n"
        );
        let devices = device(at, "main", "audit.log") + &device(at, "second", "second.log");
        std::fs::write(at.join("config.hcl"), listener + &storage(at) + &devices).unwrap();
        let (main, second) = (vec![at.join("audit.log")], at.join("second.log"));
        let server = Self::spawn(at, port).await;
        Self { server, home, main, second }
    }

    async fn spawn(home: &Path, port: u16) -> Server {
        let mut server = Server::spawn(home, port, &[&format!("-config={}", home.join("config.hcl").display())]);
        server.wait_until_answering(&server.client()).await;
        server
    }

    /// Killed with -9, started again, unsealed.
    async fn killed(self, keys: &[String]) -> Self {
        let port = self.server.port;
        self.server.kill();
        let server = Self::spawn(self.home.path(), port).await;
        unseal(&server.client(), keys).await;
        Self { server, ..self }
    }

    /// A rotation under load, of one device of the two.
    fn rotate(&mut self, round: usize) {
        let old = self.home.path().join(format!("audit.log.{round}"));
        std::fs::rename(&self.main[0], &old).unwrap();
        self.main.push(old);
        self.server.signal("-HUP");
    }
}

/// All files of all nodes.
fn files(nodes: &[Node]) -> Vec<PathBuf> {
    nodes.iter().flat_map(|node| node.main.iter().chain([&node.second]).cloned()).collect()
}

struct Entries {
    /// Request and response entries by path.
    by_path: HashMap<String, [usize; 2]>,
    by_id: HashMap<String, [usize; 2]>,
}

fn entries(files: &[PathBuf]) -> Entries {
    let mut entries = Entries { by_path: HashMap::new(), by_id: HashMap::new() };
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains("canary-"), "{}: a secret is in clear", file.display());
        for line in text.lines() {
            // A line that a kill has cut is the verifier's business.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let at = match line["type"].as_str().unwrap() {
                "request" => 0,
                "response" => 1,
                _ => continue,
            };
            let text = |name: &str| line["request"][name].as_str().unwrap().trim_end_matches('/').to_owned();
            entries.by_path.entry(text("path")).or_default()[at] += 1;
            entries.by_id.entry(text("id")).or_default()[at] += 1;
        }
    }
    entries
}

fn verify(server: &Server, root: &str, arguments: &[&str], files: &[PathBuf]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["audit", "verify", "-format=json"])
        .args(arguments)
        .args(files)
        .env_clear()
        .env("VAULT_ADDR", server.address())
        .env("VAULT_TOKEN", root)
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn assert_whole(output: &Output) {
    let report = report(output);
    assert!(output.status.success(), "{:#}\n{:#}", report["findings"], report["notes"]);
}

fn requests() -> usize {
    std::env::var("HOLDFAST_AUDIT_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5000)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_entries_and_the_chain_holds_after_every_kill() {
    let count = requests();
    let node =
        Node::start(|home| format!("storage \"file\" {{ path = {:?} }}\n", home.join("data").display().to_string()))
            .await;
    let (client, made) = node.server.initialize(1, 1).await;
    furnish(&client).await;
    let nodes = soak(vec![node], count, (count / 2000).clamp(3, 20), &made.root_token, &made.keys_base64).await;
    let Node { server, main, .. } = &nodes[0];
    found_whatever_is_done(server, &made.root_token, main);
}

/// Both serve; each has devices of its own. One is killed while the other goes on.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_two_replicas_on_etcd_has_its_entries_while_one_is_killed() {
    let count = requests() / 5;
    let etcd = Etcd::start().await;
    let mut nodes = Vec::new();
    let (mut root, mut keys) = (String::new(), Vec::new());
    for _ in 0..2 {
        let node = Node::start(|_| etcd.stanza(etcd.folder(), "client")).await;
        if keys.is_empty() {
            let (client, made) = node.server.initialize(1, 1).await;
            furnish(&client).await;
            (root, keys) = (made.root_token.clone(), made.keys_base64.clone());
        } else {
            assert_eq!(unseal(&node.server.client(), &keys).await["sealed"], false);
        }
        nodes.push(node);
    }
    soak(nodes, count, 3, &root, &keys).await;
}

/// So many mixed requests, with a kill at the end of each round; then each answer is looked for on both devices.
async fn soak(mut nodes: Vec<Node>, count: usize, kills: usize, root: &str, keys: &[String]) -> Vec<Node> {
    let (work, begin) = (Work::new(root), Instant::now());
    for round in 1..=kills {
        let (until, victim) = (count * round / kills, round % nodes.len());
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(work.clone().run(nodes[worker % nodes.len()].server.port, until)))
            .collect();
        if round % 3 == 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            nodes[victim].rotate(round);
        }
        // Killed while requests are in flight, or right after the last one; with another replica, in the middle.
        let close = if nodes.len() > 1 { until - count / kills / 2 } else { until.saturating_sub(WORKERS * 2) };
        while work.next.load(Ordering::Relaxed) < close && workers.iter().any(|worker| !worker.is_finished()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let node = nodes.remove(victim).killed(keys).await;
        nodes.insert(victim, node);
        for worker in workers {
            worker.await.unwrap();
        }
        work.next.store(until, Ordering::Relaxed);
        assert_whole(&verify(&nodes[0].server, root, &[], &files(&nodes)));
    }
    let took = begin.elapsed();
    let answered = std::mem::take(&mut *work.answered.lock());
    let late = work.late.load(Ordering::Relaxed);
    let main: Vec<PathBuf> = nodes.iter().flat_map(|node| node.main.clone()).collect();
    let second: Vec<PathBuf> = nodes.iter().map(|node| node.second.clone()).collect();
    for files in [main, second] {
        let entries = entries(&files);
        for answered in &answered {
            let found = match answered {
                Answered::Path(path) => entries.by_path.get(path),
                Answered::Id(id) => entries.by_id.get(id),
            };
            assert_eq!(found, Some(&[1, 1]), "{answered:?}");
        }
        let unpaired = entries.by_id.iter().filter(|(_, counts)| **counts != [1, 1]).collect::<Vec<_>>();
        assert!(unpaired.iter().all(|(_, counts)| **counts == [1, 0]), "{unpaired:?}");
        assert!(unpaired.len() <= kills * WORKERS + late, "{} without an answer", unpaired.len());
        // Those of the start, and one after each kill; they are written while there are no keys yet.
        let unseals = entries.by_path["sys/unseal"];
        assert_eq!(unseals, [kills + nodes.len(); 2], "unseals");
        println!(
            "{} of {count} requests answered in {took:.1?}, {kills} kills, {late} refused as something was late, {} by the rate \
             limit, {} without an answer, {} entries in {} files",
            answered.len(),
            work.limited.load(Ordering::Relaxed),
            unpaired.len(),
            entries.by_id.values().flatten().sum::<usize>(),
            files.len()
        );
    }
    assert!(late * 100 <= count, "{late} of {count} entries were late");
    assert!(answered.len() + late + kills * WORKERS * 3 >= count, "only {} of {count} were answered", answered.len());
    assert!(work.limited.load(Ordering::Relaxed) > 5, "no request was refused by the rate limit");
    nodes
}

/// What is done to the real files is found, with and without the server.
fn found_whatever_is_done(server: &Server, root: &str, files: &[PathBuf]) {
    let oldest = files.get(1).unwrap_or(&files[0]);
    let whole = std::fs::read_to_string(oldest).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let middle = lines.len() / 2;
    let deeds: [(&str, Vec<String>); 5] = [
        ("changed", {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            lines[middle] = lines[middle].replace("\"time\":\"2", "\"time\":\"3");
            lines
        }),
        (
            "missing",
            lines.iter().enumerate().filter(|(at, _)| *at != middle).map(|(_, line)| (*line).to_owned()).collect(),
        ),
        ("missing", lines[20..].iter().map(|line| (*line).to_owned()).collect()),
        ("truncated", lines[..lines.len() - 10].iter().map(|line| (*line).to_owned()).collect()),
        ("repeated", [&lines[..=middle], &lines[middle..]].concat().iter().map(|line| (*line).to_owned()).collect()),
    ];
    for (kind, deed) in deeds {
        std::fs::write(oldest, deed.join("\n") + "\n").unwrap();
        let output = verify(server, root, &[], files);
        let report = report(&output);
        assert_eq!(output.status.code(), Some(3), "{kind}: {report:#}");
        let kinds: Vec<_> = report["findings"].as_array().unwrap().iter().map(|finding| &finding["kind"]).collect();
        // What is cut off the end of a rotated file is missing before the next one.
        assert!(kinds.contains(&&json!(kind)) || kind == "truncated", "{kind}: {report:#}");
    }
    std::fs::write(oldest, whole).unwrap();
    assert_whole(&verify(server, root, &[], files));
}

#[tokio::test]
async fn the_public_key_is_enough_after_the_server_is_gone() {
    let home = folder();
    let mut server = Server::start(home.path(), &configuration(home.path())).await;
    let (client, made) = server.initialize(1, 1).await;
    for n in 0..5 {
        client.write("sys/mounts/secret", json!({"type": "kv"})).await.ok();
        client.write(&format!("secret/{n}"), json!({"n": n})).await.unwrap();
    }
    let file = home.path().join("audit.log");
    assert_whole(&verify(&server, &made.root_token, &[], std::slice::from_ref(&file)));
    let chain = client.read("sys/audit-chain").await.unwrap().unwrap().data.unwrap();
    let key = chain["public_key"].as_str().unwrap().to_owned();
    server.stop_in_place();
    let offline = ["-offline", "-public-key", key.as_str()];
    let output = verify(&server, "", &offline, std::slice::from_ref(&file));
    assert_whole(&output);
    let chains = report(&output)["chains"].as_array().unwrap().clone();
    let last = chains.last().unwrap();
    assert_eq!(last["signed"].as_u64().unwrap() + 1, last["last"].as_u64().unwrap(), "all of it is signed: {last}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("secret/3", "secret/4", 1)).unwrap();
    assert_eq!(verify(&server, "", &offline, std::slice::from_ref(&file)).status.code(), Some(3));
    assert_eq!(verify(&server, "", &["-offline"], &[file]).status.code(), Some(1));
}
