//! Events over WebSockets: from any replica to the subscribers of all, for whom the policies let hear them.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use holdfast_client::Client;
use holdfast_secret::SecretString;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

use crate::fixture::{SOON, Server, etcd::Etcd, folder, get, put, unseal};

struct Listener(WebSocketStream<TcpStream>);

impl Listener {
    /// Subscribes; the status of the answer if that is refused.
    async fn new(server: &Server, token: &SecretString, what: &str) -> Result<Self, u16> {
        let url = format!("ws://127.0.0.1:{}/v1/sys/events/subscribe/{what}", server.port);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("x-vault-token", token.expose().parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next event.
    async fn next(&mut self) -> Value {
        loop {
            match timeout(SOON, self.0.next()).await.expect("an event should come").unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits for the end, and says why.
    async fn end(mut self) -> CloseCode {
        loop {
            match timeout(SOON, self.0.next()).await.expect("it should end").unwrap().unwrap() {
                Message::Close(frame) => return frame.unwrap().code,
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn token(client: &Client, policy: &str) -> SecretString {
    client.write("sys/policies/acl/hears", json!({ "policy": policy })).await.unwrap();
    let made = client.write("auth/token/create", json!({"policies": ["hears"]})).await.unwrap();
    SecretString::new(made.unwrap().auth.unwrap().client_token)
}

#[tokio::test]
async fn an_event_of_one_replica_reaches_the_subscribers_of_another() {
    let (etcd, first_folder, second_folder) = (Etcd::start().await, folder(), folder());
    let storage = etcd.stanza(etcd.folder(), "client");
    let first = Server::start(first_folder.path(), &storage).await;
    let (client, made) = first.initialize(1, 1).await;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    client.write("sys/mounts/old", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    let second = Server::start(second_folder.path(), &storage).await;
    unseal(&second.client(), &made.keys_base64).await;
    let root = client.token().unwrap().duplicate();
    let other = second.client().with_token(root.duplicate());

    let mut here = Listener::new(&first, &root, "kv*?json=true").await.unwrap();
    let mut there = Listener::new(&second, &root, "kv*?json=true").await.unwrap();
    other.write("kv/data/app", json!({"data": {"canary": "x"}})).await.unwrap();
    for listener in [&mut here, &mut there] {
        let event = listener.next().await;
        let data = &event["data"];
        assert_eq!((&event["specversion"], &data["event_type"]), (&json!("1.0"), &json!("kv-v2/data-write")));
        assert_eq!(
            data["event"]["metadata"],
            json!({
                "path": "kv/data/app", "data_path": "kv/data/app", "operation": "data-write", "modified": "true",
                "current_version": "1", "oldest_version": "0",
            })
        );
        assert_eq!((&data["namespace"], &data["plugin_info"]["mount_path"]), (&json!(""), &json!("kv/")));
        assert!(event["id"].as_str().is_some_and(|id| id == data["event"]["id"]), "{event}");
        assert!(!event.to_string().contains("canary"));
    }
    // In the order in which they were made, and none for what was only read.
    other.read("kv/data/app").await.unwrap();
    client.write("kv/delete/app", json!({"versions": [1]})).await.unwrap();
    client.write("old/a", json!({"n": 1})).await.unwrap();
    let deleted = there.next().await;
    assert_eq!(deleted["data"]["event"]["metadata"]["deleted_versions"], "[1]");
    assert_eq!(there.next().await["data"]["event_type"], "kv-v1/write");

    // The seal ends it.
    other.call(put("sys/seal", json!({}))).await.unwrap();
    assert_eq!(there.end().await, CloseCode::Away);
}

#[tokio::test]
async fn subscribers_hear_what_their_policies_and_filters_say() {
    let folder = folder();
    let server = Server::start(folder.path(), "storage \"inmem\" {}\n").await;
    let (client, _) = server.initialize(1, 1).await;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    let policy = "path \"sys/events/subscribe/kv*\" { capabilities = [\"read\"] }
        path \"kv/data/mine/*\" { capabilities = [\"read\", \"subscribe\"]\n subscribe_event_types = [\"kv-v2/data-*\"] }
        path \"kv/data/*\" { capabilities = [\"read\"] }";
    let hears = token(&client, policy).await;
    assert_eq!(Listener::new(&server, &hears, "database/*?json=true").await.err(), Some(403));
    assert_eq!(Listener::new(&server, &SecretString::new("hvs.none"), "kv*?json=true").await.err(), Some(403));
    assert_eq!(Listener::new(&server, &hears, "kv*").await.err(), Some(400));
    assert_eq!(Listener::new(&server, &hears, "kv*?json=true&filter=x").await.err(), Some(400));
    // Without the handshake of a WebSocket.
    let plain = holdfast_client::Call { query: "json=true".to_owned(), ..get("sys/events/subscribe/kv*") };
    assert_eq!(client.call(plain).await.unwrap().status, 426);

    let mut listener = Listener::new(&server, &hears, "kv*?json=true").await.unwrap();
    let filter = "kv*?json=true&filter=operation%20==%20data-write";
    let mut filtered = Listener::new(&server, client.token().unwrap(), filter).await.unwrap();
    for path in ["kv/data/other", "kv/metadata/mine/a", "kv/data/mine/a"] {
        client.write(path, json!({"data": {}})).await.unwrap();
    }
    assert_eq!(listener.next().await["data"]["event"]["metadata"]["path"], "kv/data/mine/a");
    assert_eq!(filtered.next().await["data"]["event"]["metadata"]["path"], "kv/data/other");
    assert_eq!(filtered.next().await["data"]["event"]["metadata"]["path"], "kv/data/mine/a");

    client.write("auth/token/revoke", json!({"token": hears.expose()})).await.unwrap();
    assert_eq!(listener.end().await, CloseCode::Policy);
    server.signal("-TERM");
    assert_eq!(filtered.end().await, CloseCode::Away);
}

/// `holdfast events subscribe` with these words; its lines.
fn subscribe(server: &Server, token: &str, words: &[&str]) -> (Child, mpsc::Receiver<Value>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["events", "subscribe"])
        .args(words)
        .env("HOLDFAST_ADDR", server.address())
        .env("HOLDFAST_TOKEN", token)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines() {
            if sender.send(serde_json::from_str(&line.unwrap()).unwrap()).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

#[tokio::test]
async fn the_command_line_prints_events_of_the_namespaces_that_are_asked_for() {
    let folder = folder();
    let server = Server::start(folder.path(), "storage \"inmem\" {}\n").await;
    let (client, _) = server.initialize(1, 1).await;
    let kv = json!({"type": "kv", "options": {"version": "2"}});
    client.write("sys/mounts/kv", kv.clone()).await.unwrap();
    let mut inner = Vec::new();
    for name in ["team-a", "other"] {
        client.write(&format!("sys/namespaces/{name}"), json!({})).await.unwrap();
        let below = client.with_namespace(name);
        below.write("sys/mounts/kv", kv.clone()).await.unwrap();
        inner.push(below);
    }
    let token = client.token().unwrap().expose().to_owned();
    let filter = "-filter=data_path matches `^kv/data/[a-z]+$` and operation != \"data-patch\"";
    let (mut child, lines) = subscribe(&server, &token, &["-namespaces=team-*", filter, "kv*"]);
    // It is there when the first event comes.
    let deadline = Instant::now() + SOON;
    let first = loop {
        client.write("kv/data/first", json!({"data": {}})).await.unwrap();
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => break line,
            Err(_) => assert!(Instant::now() < deadline, "no event came"),
        }
    };
    assert_eq!(first["data"]["event_type"], "kv-v2/data-write");
    client.write("kv/metadata/app", json!({})).await.unwrap();
    inner[1].write("kv/data/hidden", json!({"data": {}})).await.unwrap();
    inner[0].write("kv/data/app", json!({"data": {}})).await.unwrap();
    let second = loop {
        let line = lines.recv_timeout(SOON).unwrap();
        if line["data"]["event"]["metadata"]["path"] != "kv/data/first" {
            break line;
        }
    };
    assert_eq!(
        (&second["data"]["namespace"], &second["data"]["event"]["metadata"]["path"]),
        (&json!("team-a/"), &json!("kv/data/app"))
    );
    child.kill().unwrap();
    child.wait().unwrap();

    let (mut refused, _) = subscribe(&server, "hvs.none", &["kv*"]);
    assert_eq!(refused.wait().unwrap().code(), Some(2));
    let (mut over, _) = subscribe(&server, &token, &["-timeout=1s", "kv*"]);
    assert_eq!(over.wait().unwrap().code(), Some(0));
}
