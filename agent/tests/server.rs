//! A server in memory: logins, kv paths, leases that are bound to items, events. Counts what it is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use futures::SinkExt;
use holdfast_base::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

/// What the server has, and what it was asked.
#[derive(Default)]
pub struct World {
    /// Unleased paths.
    pub kv: BTreeMap<String, Value>,
    /// Leased paths: lease seconds, and seconds that renewals may add up to.
    pub leased: BTreeMap<String, (u64, u64)>,
    /// Forbidden paths.
    pub denied: BTreeSet<String>,
    /// Status that renewals are answered with, if not 200.
    pub renewals_fail: Option<u16>,
    /// Lease ids by item.
    pub bound: BTreeMap<String, String>,
    /// Credentials made.
    pub minted: usize,
    /// Renewals that were asked for.
    pub renewals: usize,
    /// Leases that were revoked.
    pub revoked: Vec<String>,
    /// Logins.
    pub logins: usize,
    /// Logins are nobody's pod.
    pub no_pod: bool,
    /// Tokens made by tokens.
    pub tokens: usize,
    /// Paths that make something without a lease: the seconds that it is good for, if it says so.
    pub issues: BTreeMap<String, Option<u64>>,
    /// What was made there.
    pub issued: usize,
    /// Reads of unleased paths.
    pub reads: BTreeMap<String, usize>,
    /// Where paths come from that subscribers are told have changed; without it there are no events, and when it is
    /// replaced, those that there were end.
    pub events: Option<broadcast::Sender<String>>,
    /// Seconds that each lease has been prolonged by in total.
    prolonged: BTreeMap<String, u64>,
}

/// A running server; ends when dropped.
pub struct Server {
    /// `http://…`
    pub address: String,
    /// Shared with the tests.
    pub world: Arc<Mutex<World>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World::default()));
        let shared = world.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(stream, shared.clone()));
            }
        });
        Self { address, world, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(stream: TcpStream, world: Arc<Mutex<World>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().trim_start_matches("/v1/").to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            let Some((name, value)) = header.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        if path.starts_with("sys/events/subscribe/") {
            let events = world.lock().unwrap().events.as_ref().map(broadcast::Sender::subscribe);
            if let Some(events) = events {
                return tell(stream, &headers["sec-websocket-key"], events).await;
            }
        }
        let (status, answer) = world.lock().unwrap().answer(&path, &headers, &body);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.get_mut().write_all((head + &answer).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn tell(mut stream: BufReader<TcpStream>, key: &str, mut events: broadcast::Receiver<String>) {
    let head = format!(
        "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.get_mut().write_all(head.as_bytes()).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream.into_inner(), Role::Server, None).await;
    while let Ok(path) = events.recv().await {
        let event = json!({ "data": { "event": { "metadata": { "data_path": path } } } });
        if socket.send(Message::text(event.to_string())).await.is_err() {
            return;
        }
    }
}

impl World {
    fn answer(&mut self, path: &str, headers: &BTreeMap<String, String>, body: &Value) -> (u16, Value) {
        if path.starts_with("auth/kubernetes/login") {
            self.logins += 1;
            assert_eq!(body["jwt"], "the.pod.token");
            let metadata = if self.no_pod { json!(null) } else { json!({ "pod_uid": "u-1" }) };
            return (
                200,
                json!({ "data": null, "auth": { "client_token": "hvs.t", "policies": ["default", "orders"], "lease_duration": 3600, "renewable": true, "metadata": metadata } }),
            );
        }
        let token = headers.get("x-vault-token").map_or("", String::as_str);
        assert!(token.starts_with("hvs."), "{path}");
        if path == "auth/token/create" {
            self.tokens += 1;
            let token = format!("hvs.made-{}", self.tokens);
            return (
                200,
                json!({ "data": null, "auth": { "client_token": token, "accessor": format!("a{}", self.tokens), "lease_duration": 3600, "renewable": true } }),
            );
        }
        if path == "sys/leases/renew" {
            self.renewals += 1;
            let id = body["lease_id"].as_str().unwrap().to_owned();
            if let Some(status) = self.renewals_fail {
                return (status, json!({ "errors": ["no"] }));
            }
            let (ttl, most) = self.leased.values().next().copied().unwrap();
            let used = self.prolonged.entry(id.clone()).or_default();
            let ttl = body["increment"].as_u64().unwrap_or(ttl);
            let granted = ttl.min(most.saturating_sub(*used).max(1));
            *used += granted;
            return (200, json!({ "data": null, "lease_id": id, "lease_duration": granted, "renewable": true }));
        }
        if path == "sys/leases/revoke" {
            self.revoked.push(body["lease_id"].as_str().unwrap().to_owned());
            return (200, json!({ "data": null }));
        }
        if self.denied.contains(path) {
            return (403, json!({ "errors": ["permission denied"] }));
        }
        if let Some(data) = self.kv.get(path) {
            *self.reads.entry(path.to_owned()).or_default() += 1;
            return (200, json!({ "data": data }));
        }
        if let Some(good_for) = self.issues.get(path).copied() {
            assert_eq!(body["common_name"], "app", "a write");
            self.issued += 1;
            let ends = good_for.map(|seconds| SystemClock.now().as_second().unsigned_abs() + seconds);
            return (200, json!({ "data": { "certificate": format!("c{}", self.issued), "expiration": ends } }));
        }
        let Some((ttl, _)) = self.leased.get(path).copied() else { return (404, json!({ "errors": [] })) };
        if self.no_pod {
            if headers.keys().any(|name| name.starts_with("x-holdfast-")) {
                return (400, json!({ "errors": ["X-Holdfast-Item needs the token of a pod"] }));
            }
            self.bound.clear();
        }
        let item = headers.get("x-holdfast-item").cloned().unwrap_or_default();
        let replace = headers.get("x-holdfast-replace");
        let current = self.bound.get(&item).filter(|id| replace != Some(id)).cloned();
        let id = current.unwrap_or_else(|| {
            self.minted += 1;
            let id = format!("{path}/{}", self.minted);
            self.bound.insert(item, id.clone());
            id
        });
        let number = id.rsplit('/').next().unwrap();
        let data = json!({ "username": format!("u{number}"), "password": format!("p{number}") });
        (200, json!({ "data": data, "lease_id": id, "lease_duration": ttl, "renewable": true }))
    }
}
