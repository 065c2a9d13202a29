//! What callers may make the server hold, before it is known who they are.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use holdfast_base::SystemEntropy;
use holdfast_client::Call;
use holdfast_http::{Budget, Limits, Listener, Site, TrustedProxies};
use holdfast_secret::SecretString;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Echo, client, eventually, start};

fn put(path: &str, body: Value) -> Call {
    Call { method: Method::PUT, path: path.to_owned(), body: Some(body), ..Call::default() }
}

/// A JSON object of so many bytes.
fn sized(bytes: usize) -> Value {
    let empty = json!({"x": ""}).to_string().len();
    json!({"x": "y".repeat(bytes - empty)})
}

#[tokio::test]
async fn cve_2023_6337_bodies_are_taken_to_the_limit_and_not_beyond() {
    let limits = Limits { body: 2000, anonymous_body: 1000, ..Limits::default() };
    let running = start(Echo::new(), None, limits).await;
    let anyone = client(running.port);
    let holder = anyone.with_token(SecretString::new("hvs.x"));
    for (client, limit) in [(&anyone, 1000), (&holder, 2000)] {
        for (bytes, status) in [(limit - 1, 200), (limit, 200), (limit + 1, 413)] {
            assert_eq!(client.call(put("a", sized(bytes))).await.unwrap().status, status, "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_body_without_length_is_counted_as_it_comes() {
    let running = start(Echo::new(), None, Limits { body: 1000, ..Limits::default() }).await;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", running.port)).unwrap();
        stream.write_all(b"PUT /v1/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..3 {
            // The server may have answered already.
            let _ = stream.write_all(format!("190\r\n{}\r\n", "x".repeat(400)).as_bytes());
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    });
    assert_eq!(answer.await.unwrap(), "HTTP/1.1 413");
}

/// The budget of the fixture is 8 MiB, 6 of them for large requests. A body counts until its request is answered.
#[tokio::test]
async fn bodies_beyond_the_budget_are_refused_until_there_is_room() {
    let echo = Echo::new();
    let running = start(echo.clone(), None, Limits::default()).await;
    let client = client(running.port).with_token(SecretString::new("hvs.x"));
    let asking = client.clone();
    // In memory it is twice as much: the text and what is parsed of it.
    let slow = tokio::spawn(async move { asking.call(put("slow", sized(2 << 20))).await });
    eventually("the request arrived", || echo.started.load(Ordering::SeqCst) == 1).await;
    let refused = client.call(put("a", sized(2 << 20))).await.unwrap();
    assert_eq!((refused.status, refused.content_type.as_str()), (503, "application/json"));
    assert_eq!(client.call(put("a", sized(1000))).await.unwrap().status, 200, "small ones have their own share");
    echo.permits.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    eventually("the budget is given back", || running.budget.used() == 0).await;
    assert_eq!(client.call(put("a", sized(2 << 20))).await.unwrap().status, 200);
}

/// What is parsed counts too: many small values take far more than their text.
#[tokio::test]
async fn cve_2025_6203_the_parsed_form_is_in_the_budget() {
    let limits = Limits { json_values: 1_000_000, ..Limits::default() };
    let running = start(Echo::new(), None, limits).await;
    let client = client(running.port).with_token(SecretString::new("hvs.x"));
    let many = |count: usize| json!({ "x": vec![0; count] });
    assert_eq!(client.call(put("a", many(50_000))).await.unwrap().status, 200);
    assert_eq!(client.call(put("a", many(100_000))).await.unwrap().status, 503);
}

/// Every string of a body becomes a hash in two lines of the audit log, also where nobody knows who asks.
#[tokio::test]
async fn without_a_token_a_body_has_few_values() {
    let running = start(Echo::new(), None, Limits::default()).await;
    let anyone = client(running.port);
    let holder = anyone.with_token(SecretString::new("hvs.x"));
    let many = |count: usize| put("a", json!({ "x": vec!["y"; count] }));
    assert_eq!(anyone.call(many(900)).await.unwrap().status, 200);
    assert_eq!(anyone.call(many(1001)).await.unwrap().status, 400);
    assert_eq!(holder.call(many(1001)).await.unwrap().status, 200);
}

/// CVE-2025-12044: quota → size → parse: what is refused by a rate limit is not read, however broken or large it is.
#[tokio::test]
async fn cve_2025_12044_a_rate_limit_comes_before_size_and_parsing() {
    let echo = Echo::new();
    let running = start(echo.clone(), None, Limits { body: 100, ..Limits::default() }).await;
    for (path, body, length, status) in [
        ("limited", "{broken", 7, "429"),
        ("limited", "", 1_000_000, "429"),
        ("a", "", 1_000_000, "413"),
        ("a", "{broken", 7, "400"),
    ] {
        let port = running.port;
        let head = format!("PUT /v1/{path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}");
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = vec![0; 2048];
            let read = stream.read(&mut answer).unwrap();
            String::from_utf8(answer[..read].to_vec()).unwrap()
        });
        let answer = answer.await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {length}: {answer}");
        assert!(answer.contains("x-ratelimit-limit: 1\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let running = start(Echo::new(), None, Limits { connections: 8, connections_of_one: 3, ..Limits::default() }).await;
    let port = running.port;
    let open = move || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let asks = |mut stream: TcpStream| {
        let _ = stream.write_all(b"GET /v1/a HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).is_ok_and(|()| &answer == b"HTTP/1.1 200")
    };
    tokio::task::spawn_blocking(move || {
        let held: Vec<TcpStream> = (0..3).map(|_| open()).collect();
        assert!(!asks(open()), "a fourth of this address");
        drop(held);
        let free = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            asks(open())
        });
        assert!(free, "ended connections do not count");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_unix_socket_serves_and_takes_its_file_along() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("api.sock");
    let site = || Site {
        handle: Echo::new(),
        entropy: Arc::new(SystemEntropy),
        limits: Limits::default(),
        budget: Budget::new(8 << 20),
        headers: Default::default(),
        metrics_only: false,
        proxies: TrustedProxies::default(),
        unauthenticated_metrics: true,
        doors: Default::default(),
        left: Default::default(),
    };
    let listener = Listener::bind_unix(&file, Arc::new(site())).unwrap();
    assert!(Listener::bind_unix(&file, Arc::new(site())).is_err(), "somebody listens there");
    let stop = CancellationToken::new();
    let task = tokio::spawn(listener.serve(stop.clone().cancelled_owned()));
    let at = file.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(at).unwrap();
        stream.write_all(b"GET /v1/a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 "));
    stop.cancel();
    task.await.unwrap();
    assert!(!file.exists());
    // What a killed process leaves is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&file).unwrap());
    assert!(Listener::bind_unix(&file, Arc::new(site())).is_ok());
}
