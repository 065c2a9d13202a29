//! The audit log of the real binary: every answered request has its two entries, whatever happens to the server, and nothing
//! can be done to the file unnoticed.
//!
//! `HOLDFAST_AUDIT_REQUESTS` says how many requests the soak makes (`make audit-soak`: 100,000).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{Server, folder, free_port, unseal};

const WORKERS: usize = 16;

fn configuration(folder: &Path) -> String {
    let (data, audit) = (folder.join("data").display().to_string(), folder.join("audit.log").display().to_string());
    format!(
        "storage \"file\" {{ path = {data:?} }}\naudit \"file\" \"main\" {{\n options {{\n file_path = {audit:?}\n required = true\n }}\n}}\n"
    )
}

/// Which request this was: a path that no other request has, or the id in the answer.
type Answered = Arc<Mutex<Vec<String>>>;

/// The nth request of a mix: method, path, token, body. Each path is its own.
fn request(n: usize, root: &str) -> (&'static str, String, String, String) {
    let good = root.to_owned();
    let data = json!({"data": {"password": format!("canary-{n}"), "n": n}}).to_string();
    match n % 10 {
        0 | 1 => ("POST", format!("secret/data/w-{n}"), good, data),
        2 => ("GET", format!("secret/data/r-{n}"), good, String::new()),
        3 => ("LIST", format!("secret/metadata/l-{n}"), good, String::new()),
        4 => ("DELETE", format!("secret/data/d-{n}"), good, String::new()),
        5 => ("GET", format!("secret/data/denied-{n}"), "hvs.nobody".to_owned(), String::new()),
        6 => ("GET", format!("nowhere/{n}"), good, String::new()),
        7 => ("POST", format!("secret/data/malformed-{n}"), good, "{".to_owned()),
        8 => ("POST", format!("auth/token/roles/role-{n}"), good, json!({"period": "1h"}).to_string()),
        _ => ("HELP", format!("secret/data/help-{n}"), good, String::new()),
    }
}

/// One request over a connection that is kept open. Answered means that the whole answer is here.
async fn ask(
    connection: &mut TcpStream,
    (method, path, token, body): &(&str, String, String, String),
) -> std::io::Result<(u16, Vec<u8>)> {
    let head = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let (begin, length): (usize, usize) = (end + 4, length.unwrap_or(0));
            while answer.len() < begin + length {
                if connection.read_buf(&mut answer).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok((status, answer.split_off(begin)));
        }
        if connection.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Asks until so many requests were made in all, or the server is gone.
async fn work(port: u16, root: String, next: Arc<AtomicUsize>, until: usize, answered: Answered) {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= until {
            return;
        }
        let request = request(n, &root);
        let Ok((status, _)) = ask(&mut connection, &request).await else { return };
        assert!((200..500).contains(&status), "{status} {request:?}");
        answered.lock().push(request.1);
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_entries_and_the_chain_holds_after_every_kill() {
    let count = std::env::var("HOLDFAST_AUDIT_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(5000);
    let kills = (count / 2000).clamp(3, 20);
    let (home, port) = (folder(), free_port());
    let configuration = configuration(home.path());
    let mut server = Server::start_at(home.path(), port, &configuration).await;
    let (client, made) = server.initialize(1, 1).await;
    let root = made.root_token.clone();
    client.write("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    let (answered, next) = (Answered::default(), Arc::new(AtomicUsize::new(0)));
    let mut files = vec![home.path().join("audit.log")];
    let begin = Instant::now();
    for round in 1..=kills {
        let until = count * round / kills;
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| tokio::spawn(work(port, root.clone(), next.clone(), until, answered.clone())))
            .collect();
        if round % 3 == 2 {
            // A rotation under load.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let old = home.path().join(format!("audit.log.{round}"));
            std::fs::rename(&files[0], &old).unwrap();
            files.push(old);
            server.signal("-HUP");
        }
        // Killed while requests are in flight, or right after the last one.
        let close = until.saturating_sub(WORKERS * 2);
        while next.load(Ordering::Relaxed) < close {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        server.kill();
        for worker in workers {
            worker.await.unwrap();
        }
        next.store(until, Ordering::Relaxed);
        server = Server::start_at(home.path(), port, &configuration).await;
        unseal(&server.client(), &made.keys_base64).await;
        assert_whole(&verify(&server, &root, &[], &files));
    }
    let took = begin.elapsed();

    let entries = entries(&files);
    let answered = std::mem::take(&mut *answered.lock());
    for path in &answered {
        assert_eq!(entries.by_path.get(path), Some(&[1, 1]), "{path}");
    }
    let unpaired = entries.by_id.iter().filter(|(_, counts)| **counts != [1, 1]).collect::<Vec<_>>();
    assert!(unpaired.iter().all(|(_, counts)| **counts == [1, 0]), "{unpaired:?}");
    assert!(unpaired.len() <= kills * WORKERS, "{} without an answer", unpaired.len());
    assert!(answered.len() + kills * WORKERS * 3 >= count, "only {} of {count} were answered", answered.len());
    println!(
        "{} of {count} requests answered in {took:.1?}, {kills} kills, {} without an answer, {} entries in {} files",
        answered.len(),
        unpaired.len(),
        entries.by_id.values().flatten().sum::<usize>(),
        files.len()
    );
    found_whatever_is_done(&server, &root, &files);
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
