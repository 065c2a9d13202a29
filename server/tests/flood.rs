//! What a caller without a token can make the server hold.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::fixture::{Server, folder, free_port};

const BODY: usize = 32 << 20;

/// CVE-2023-6337: 100 bodies of 32 MiB at once, without a token and with one that is made up.
#[tokio::test]
async fn cve_2023_6337_large_bodies_of_strangers_do_not_fill_the_memory() {
    let (folder, port) = (folder(), free_port());
    let address = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &address]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    let before = server.resident_bytes();
    for token in ["", "x-vault-token: hvs.made-up\r\n"] {
        let callers: Vec<_> = (0..100).map(|_| std::thread::spawn(move || send(port, token))).collect();
        let mut most = before;
        while !callers.iter().all(std::thread::JoinHandle::is_finished) {
            most = most.max(server.resident_bytes());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let refused: Vec<u16> = callers.into_iter().filter_map(|caller| caller.join().unwrap()).collect();
        assert!(refused.iter().all(|status| matches!(status, 403 | 413 | 503)), "{refused:?}");
        assert!(most < 256 << 20, "{} MiB, before it were {}", most >> 20, before >> 20);
        assert!(client.seal_status().await.is_ok(), "it serves on");
    }
}

/// The status, if there was one before the connection was closed.
fn send(port: u16, token: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!("PUT /v1/secret/data/a HTTP/1.1\r\nhost: a\r\n{token}content-length: {BODY}\r\n\r\n{{\"a\":\"");
    stream.write_all(head.as_bytes()).ok()?;
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..BODY >> 20 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}

/// CVE-2024-6468, RUSTSEC-2024-0376: what cannot be accepted ends nothing. Here there are no more files to accept with.
#[tokio::test]
async fn cve_2024_6468_a_listener_that_can_accept_nothing_listens_on() {
    let (folder, port) = (folder(), free_port());
    let address = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &address]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    server.limit_files(60);
    let many: Vec<TcpStream> = (0..120).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    assert!(many.len() > 60, "the kernel accepts more than the server may");
    let deadline = std::time::Instant::now() + crate::fixture::SOON;
    while !server.errors().contains("a connection was not accepted") {
        assert!(std::time::Instant::now() < deadline, "nothing was refused:\n{}", server.errors());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(many);
    server.wait_until_answering(&client).await;
}
