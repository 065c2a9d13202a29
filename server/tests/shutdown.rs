//! SIGTERM: what runs is finished, then the process ends well.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::fixture::{SOON, Server, folder};

#[tokio::test]
async fn a_request_that_is_under_way_is_answered() {
    let folder = folder();
    let pid_file = folder.path().join("pid");
    let configuration = format!("storage \"inmem\" {{}}\npid_file = {:?}\n", pid_file.display().to_string());
    let mut server = Server::start(folder.path(), &configuration).await;
    let (client, _) = server.initialize(1, 1).await;
    let token = client.token().unwrap().expose().to_owned();
    assert!(pid_file.exists());

    let body = "{\"policy\": \"path \\\"a\\\" { capabilities = [\\\"read\\\"] }\"}";
    let (first, rest) = body.split_at(10);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(
        stream,
        "PUT /v1/sys/policies/acl/late HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    )
    .unwrap();
    // This answer means that the head was read and the body is awaited: the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).unwrap();

    server.signal("-TERM");
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        assert!(Instant::now() < deadline, "the port stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}\n{}", server.errors());
    assert!(server.wait().success());
    assert!(!pid_file.exists());
}

/// What a rolling update behind a load balancer needs: who keeps a connection open is sent away with an answer, who still
/// comes is served.
#[tokio::test]
async fn with_a_delay_requests_are_served_after_the_signal_and_each_answer_closes_its_connection() {
    let folder = folder();
    let mut server = Server::start(folder.path(), "storage \"inmem\" {}\nshutdown_delay = \"5s\"\n").await;
    let mut kept = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    assert!(!ask(&mut kept).contains("connection: close"));

    let signalled = Instant::now();
    server.signal("-TERM");
    while !server.errors().contains("shutting down") {
        assert!(signalled.elapsed() < SOON, "{}", server.errors());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The listener hears of it a moment after the log.
    let mut answer = ask(&mut kept);
    while !answer.contains("connection: close") {
        assert!(signalled.elapsed() < SOON, "{answer}");
        answer = ask(&mut kept);
    }
    assert!(answer.starts_with("http/1.1 501"), "{answer}");
    let mut late = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    assert!(ask(&mut late).contains("connection: close"));
    assert!(server.wait().success());
    assert!(signalled.elapsed() >= Duration::from_secs(5), "it ended after {:?}", signalled.elapsed());
}

/// The head of an answer, in lower case.
fn ask(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "HEAD /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_lowercase()
}
