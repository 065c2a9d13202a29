//! Sockets and syslog.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    time::{Duration, Instant},
};

use holdfast_audit::{Broker, Device, DeviceSpec, Request, RequestEntry};
use holdfast_secret::SecretBytes;

fn remote(kind: &str, options: &[(&str, &str)]) -> Result<Device, holdfast_audit::OpenError> {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Device::open(DeviceSpec {
        path: kind.to_owned(),
        kind: kind.to_owned(),
        options: options.collect::<BTreeMap<_, _>>(),
        key: SecretBytes::new(vec![7; 32]),
        chain: None,
        folders: None,
    })
}

fn entry(id: &str) -> RequestEntry<'_> {
    RequestEntry { request: Request { id, ..Request::default() }, ..RequestEntry::default() }
}

fn id(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    value["request"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tcp_reconnects_and_loses_nothing_that_was_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = Broker::default();
    broker.insert(remote("socket", &[("address", &address)]).unwrap()).unwrap();
    broker.log_request(&entry("a")).await.unwrap();
    let read_line = || {
        let mut line = String::new();
        let (connection, _) = listener.accept().unwrap();
        BufReader::new(connection).read_line(&mut line).unwrap();
        line
    };
    // The connection is closed by the other end after each line.
    assert_eq!(id(&read_line()), "a");
    broker.log_request(&entry("b")).await.unwrap();
    assert_eq!(id(&read_line()), "b");
    drop(listener);
    let error = broker.log_request(&entry("c")).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_reader_that_sleeps_does_not_stall_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let broker = Broker::default();
    let options = [("address", address.as_str()), ("write_timeout", "300ms")];
    broker.insert(remote("socket", &options).unwrap()).unwrap();
    let begin = Instant::now();
    let text = "x".repeat(4 << 20);
    let mut refused = 0;
    // Nobody reads: the buffers of the kernel fill up, then each write meets its limit.
    while refused < 2 {
        refused += usize::from(broker.log_request(&entry(&text)).await.is_err());
        assert!(begin.elapsed() < Duration::from_secs(30), "it hangs");
    }
}

#[tokio::test]
async fn unix_and_udp() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream").display().to_string();
    let listener = UnixListener::bind(&path).unwrap();
    let broker = Broker::default();
    broker.insert(remote("socket", &[("address", &path), ("socket_type", "unix")]).unwrap()).unwrap();
    broker.log_request(&entry("a")).await.unwrap();
    broker.clear();
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(id(text.trim()), "a");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    broker.insert(remote("socket", &[("address", &address), ("socket_type", "udp")]).unwrap()).unwrap();
    broker.log_request(&entry("b")).await.unwrap();
    let mut datagram = [0u8; 4096];
    let length = socket.recv(&mut datagram).unwrap();
    assert_eq!(id(std::str::from_utf8(&datagram[..length]).unwrap()), "b");
}

#[tokio::test]
async fn syslog() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log").display().to_string();
    let daemon = UnixDatagram::bind(&path).unwrap();
    let options = [("address", path.as_str()), ("facility", "LOCAL0"), ("tag", "holdfast")];
    let broker = Broker::default();
    broker.insert(remote("syslog", &options).unwrap()).unwrap();
    broker.log_request(&entry("a")).await.unwrap();
    let mut datagram = [0u8; 4096];
    let length = daemon.recv(&mut datagram).unwrap();
    let text = std::str::from_utf8(&datagram[..length]).unwrap();
    assert!(text.starts_with("<134>holdfast["), "{text}");
    assert_eq!(id(text), "a");
    // The daemon starts anew.
    drop(daemon);
    broker.log_request(&entry("b")).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    let daemon = UnixDatagram::bind(&path).unwrap();
    broker.log_request(&entry("c")).await.unwrap();
    let length = daemon.recv(&mut datagram).unwrap();
    assert_eq!(id(std::str::from_utf8(&datagram[..length]).unwrap()), "c");
}

#[test]
fn options_are_checked() {
    for (kind, options, why) in [
        ("socket", &[][..], "address"),
        ("socket", &[("address", "nowhere")], "host:port"),
        ("socket", &[("address", "a:1"), ("socket_type", "quic")], "socket_type"),
        ("socket", &[("address", "a:1"), ("write_timeout", "soon")], "write_timeout"),
        ("socket", &[("address", "a:1"), ("file_path", "x")], "file_path"),
        ("syslog", &[("facility", "BOSS")], "facility"),
        ("syslog", &[("tag", "a b")], "tag"),
        ("syslog", &[("rfc", "1149")], "rfc"),
    ] {
        let error = remote(kind, options).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}
