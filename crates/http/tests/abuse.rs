//! Connections that are not what they should be: handshakes that stand still, requests that are taken back.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use holdfast_client::Call;
use holdfast_http::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    fixture::{Echo, client, start},
    tls,
};

/// The bytes of a ClientHello that claims to be longer than what is sent of it.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Reads until the other side has closed.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut read)).await.expect("it stays open");
    read
}

#[tokio::test]
async fn cve_2026_73500_a_handshake_that_stands_still_ends_and_holds_up_nobody() {
    // Long enough for an honest handshake on a busy machine.
    let limit = Duration::from_secs(3);
    let limits = Limits { handshake: limit, ..Limits::default() };
    let (running, good) = tls::serving(limits).await;
    let begin = Instant::now();
    let mut stalled = Vec::new();
    for n in 0..60 {
        let mut stream = TcpStream::connect(("127.0.0.1", running.port)).await.unwrap();
        // Nothing at all, a part, and one byte after the other.
        stream.write_all(&HALF_A_HELLO[..n % HALF_A_HELLO.len()]).await.unwrap();
        stalled.push(stream);
    }
    for _ in 0..3 {
        assert_eq!(tls::certificates_seen(&good).await, Ok(0), "others are served meanwhile");
    }
    for stream in &mut stalled {
        closed(stream).await;
    }
    assert!(begin.elapsed() >= limit, "closed before its time");
    assert_eq!(tls::certificates_seen(&good).await, Ok(0));
}

/// RUSTSEC-2024-0399: a ClientHello in records of one byte each, which rustls once answered with a panic. It is served.
#[tokio::test]
async fn rustsec_2024_0399_a_hello_in_many_records_is_a_hello() {
    let (running, good) = tls::serving(Limits::default()).await;
    let mut hello = tls::hello();
    assert_eq!(hello[..3], [0x16, 3, 1], "a handshake record");
    let payload = hello.split_off(5);
    let records: Vec<u8> = payload.iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", running.port)).await.unwrap();
    stream.write_all(&records).await.unwrap();
    let mut answer = [0; 6];
    tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!((answer[0], answer[5]), (0x16, 2), "a ServerHello: {answer:?}");
    drop(stream);
    assert_eq!(tls::certificates_seen(&good).await, Ok(0));
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET /v1/slow, as HPACK writes it without tables.
fn get_slow() -> Vec<u8> {
    let literal = |name: u8, text: &str| [&[name, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // :method GET, :scheme http, :path and :authority literally.
    [&[0x82, 0x86][..], &literal(0x04, "/v1/slow"), &literal(0x01, "localhost")].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// Kind and payload of the frames that came.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push((head[3], payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// Sends all of it while reading what comes back; what came until the other side closed.
async fn sent(port: u16, bytes: Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    // It may close before it has read all.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(30), read.read_to_end(&mut answer));
    let _ = reading.await.expect("it stays open");
    let _ = writing.await;
    frames(&answer)
}

fn ends_calmly(frames: &[(u8, Vec<u8>)]) -> bool {
    const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 0xb];
    frames.iter().any(|(kind, payload)| *kind == GOAWAY && payload.get(4..8) == Some(&ENHANCE_YOUR_CALM[..]))
}

/// RUSTSEC-2023-0034, RUSTSEC-2024-0003: a request that is taken back as soon as it is made costs the client nothing and the
/// server a handler. The connection ends long before that is much, and others are served.
#[tokio::test]
async fn rustsec_2024_0003_requests_that_are_taken_back_end_the_connection() {
    let echo = Echo::new();
    let running = start(echo.clone(), None, Limits::default()).await;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let streams = 10_000;
    for n in 0..streams {
        let id = 2 * n + 1;
        bytes.extend(frame(HEADERS, 0x5, id, &get_slow()));
        bytes.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
    }
    let frames = sent(running.port, bytes).await;
    assert!(ends_calmly(&frames), "{:?}", frames.last());
    let started = echo.started.load(Ordering::SeqCst);
    assert!(started < streams as usize / 10, "{started} of {streams} were begun");
    let call = Call { path: "a".to_owned(), ..Call::default() };
    assert_eq!(client(running.port).call(call).await.unwrap().status, 200);
}

/// RUSTSEC-2024-0332: headers that never end.
#[tokio::test]
async fn rustsec_2024_0332_headers_without_end_end_the_connection() {
    let running = start(Echo::new(), None, Limits::default()).await;
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0x1, 1, &get_slow())].concat();
    // Each a literal field that is not indexed: x-a: aaa…
    let field = [&[0x00, 3][..], b"x-a", &[0x7f, 0xf1, 0x1e], &[b'a'; 4080]].concat();
    for _ in 0..2_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let frames = sent(running.port, bytes).await;
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY || *kind == RST_STREAM), "{frames:?}");
    let call = Call { path: "a".to_owned(), ..Call::default() };
    assert_eq!(client(running.port).call(call).await.unwrap().status, 200);
}
