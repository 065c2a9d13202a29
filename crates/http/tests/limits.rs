//! Sizes, deadlines, draining, and what is answered beside the core.

use std::{sync::atomic::Ordering, time::Duration};

use holdfast_client::Call;
use holdfast_http::Limits;
use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{Echo, client, eventually, start};

fn put(path: &str, body: Value) -> Call {
    Call { method: Method::PUT, path: path.to_owned(), body: Some(body), ..Call::default() }
}

fn get(path: &str) -> Call {
    Call { path: path.to_owned(), ..Call::default() }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let running = start(Echo::new(), None, Limits { body: 100, ..Limits::default() }).await;
    let client = client(running.port);
    assert_eq!(client.call(put("a", json!({"x": "y"}))).await.unwrap().status, 200);
    let answer = client.call(put("a", json!({"x": "y".repeat(200)}))).await.unwrap();
    assert_eq!((answer.status, answer.content_type.as_str()), (413, "application/json"));
}

#[tokio::test]
async fn a_request_over_its_deadline_is_answered_and_still_finished() {
    let echo = Echo::new();
    let limits = Limits { request: Duration::from_millis(50), ..Limits::default() };
    let running = start(echo.clone(), None, limits).await;
    assert_eq!(client(running.port).call(get("slow")).await.unwrap().status, 504);
    assert_eq!(echo.finished.load(Ordering::SeqCst), 0);
    echo.permits.add_permits(1);
    eventually("the work is finished", || echo.finished.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_request_that_the_store_does_not_confirm_is_answered_and_still_finished() {
    let echo = Echo::new();
    let running = start(echo.clone(), None, Limits::default()).await;
    let request = tokio::spawn(async move { client(running.port).call(get("slow")).await });
    eventually("the request arrived", || echo.started.load(Ordering::SeqCst) == 1).await;
    echo.stuck.cancel();
    let answer = request.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 503 && text.contains("whether it was done is not known"), "{} {text}", answer.status);
    assert_eq!(echo.finished.load(Ordering::SeqCst), 0);
    echo.permits.add_permits(1);
    eventually("the work is finished", || echo.finished.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_listener_lives_on() {
    let running = start(Echo::new(), None, Limits::default()).await;
    let client = client(running.port);
    assert_eq!(client.call(get("panic")).await.unwrap().status, 500);
    assert_eq!(client.call(get("a")).await.unwrap().status, 200);
}

#[tokio::test]
async fn shutdown_finishes_running_requests_and_takes_no_new_ones() {
    let echo = Echo::new();
    let running = start(echo.clone(), None, Limits::default()).await;
    let client = client(running.port);
    let asking = client.clone();
    let request = tokio::spawn(async move { asking.call(get("slow")).await });
    eventually("the request arrived", || echo.started.load(Ordering::SeqCst) == 1).await;
    running.stop.cancel();
    let port = running.port;
    eventually("the port is closed", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await;
    echo.permits.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    running.task.await.unwrap();
}

#[tokio::test]
async fn what_belongs_to_no_operation_is_405_and_what_is_not_below_v1_404() {
    let echo = Echo::new();
    let running = start(echo.clone(), None, Limits::default()).await;
    let client = client(running.port);
    for method in [Method::TRACE, Method::OPTIONS] {
        let answer = client.call(Call { method, path: "a".to_owned(), ..Call::default() }).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (405, &b"{\"errors\":[]}\n"[..]));
    }
    let answer = client.call(get("sys/metrics")).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"up 1\n"[..]));
    assert_eq!(echo.observed.load(Ordering::SeqCst), 3);
}

/// Whoever says nothing, or too slowly, holds one of few places.
#[tokio::test]
async fn a_head_has_a_time_however_little_of_it_comes() {
    let echo = Echo::new();
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let running = start(echo.clone(), None, limits).await;
    let port = running.port;
    let waits = tokio::spawn(async move { client(port).call(get("slow")).await });
    let asked = "GET /v1/a HTTP/1.1\r\nhost: a\r\n\r\n";
    let ends = ["", "P", "PRI * HTTP/2.0\r\n", "GET /v1/a HTTP/1.1\r\nhost: ", asked, &format!("{asked}GET /v1/b HT")];
    let ends = ends.map(|said| {
        let said = said.to_owned();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut answered = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answered)).await;
            assert!(end.is_ok(), "{said:?} holds a connection");
            (said, String::from_utf8_lossy(&answered).into_owned())
        })
    });
    for end in ends {
        let (said, answered) = end.await.unwrap();
        assert_eq!(answered.starts_with("HTTP/1.1 200"), said.starts_with(asked), "{said:?}: {answered}");
    }
    echo.permits.add_permits(1);
    assert_eq!(waits.await.unwrap().unwrap().status, 200, "an answer may take longer than a head");
}
