//! A member that takes requests and answers none: stopped, or behind a network that swallows packets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use holdfast_storage::{Op, Range, Storage, Txn};
use holdfast_storage_etcd::{Config, EtcdStorage};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::etcd::Etcd;

/// A way to etcd that passes everything on, until it is told to stop.
struct Way {
    endpoint: String,
    open: Arc<watch::Sender<bool>>,
}

impl Way {
    async fn to(etcd: &Etcd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(watch::Sender::new(true));
        let (target, state) = (etcd.endpoint.trim_start_matches("http://").to_owned(), open.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, state.subscribe()));
                tokio::spawn(pass(from_server, to_client, state.subscribe()));
            }
        });
        Self { endpoint, open }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = [0u8; 4096];
    while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn it_is_left_for_another_within_a_second() {
    let etcd = Etcd::start().await;
    let way = Way::to(&etcd).await;
    let endpoints = vec![way.endpoint.clone(), etcd.endpoint.clone()];
    let storage = EtcdStorage::connect(Config { endpoints, ..Config::default() }).await.unwrap();
    let put = |value: &'static str| Txn { then: vec![Op::put("key", value)], ..Txn::default() };
    let first = storage.txn(put("one")).await.unwrap().revision;
    let mut watch = storage.watch(b"", first + 1).await.unwrap();

    way.open.send_replace(false);
    let begun = Instant::now();
    let page = storage.range(Range::key("key")).await.unwrap();
    assert_eq!(page.items[0].value, "one");
    assert!(begun.elapsed() < Duration::from_secs(3), "a read goes to another: {:?}", begun.elapsed());
    let ended = tokio::time::timeout(Duration::from_secs(3), watch.next()).await.expect("the watch ends");
    assert!(ended.is_some_and(|update| update.is_err()));

    let begun = Instant::now();
    let second = storage.txn(put("two")).await.unwrap().revision;
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody asks the silent one any more: {:?}", begun.elapsed());
    let mut watch = storage.watch(b"", second).await.unwrap();
    assert!(watch.next().await.is_some_and(|update| update.is_ok()), "a new watch is at the other");
}

#[tokio::test]
async fn a_watch_that_does_not_say_how_far_it_is_ends() {
    let etcd = Etcd::start().await;
    let way = Way::to(&etcd).await;
    let endpoints = vec![way.endpoint.clone(), etcd.endpoint.clone()];
    let storage = EtcdStorage::connect(Config { endpoints, ..Config::default() }).await.unwrap();
    let put = Txn { then: vec![Op::put("key", "one")], ..Txn::default() };
    let first = storage.txn(put).await.unwrap().revision;
    let mut watch = storage.watch(b"", first).await.unwrap();
    for what in ["it tells what happened", "it says how far it is"] {
        let told = tokio::time::timeout(Duration::from_secs(3), watch.next()).await;
        assert!(told.is_ok_and(|told| told.is_some_and(|update| update.is_ok())), "{what}");
        watch.asker()();
    }

    way.open.send_replace(false);
    watch.asker()();
    let ended = tokio::time::timeout(Duration::from_secs(3), watch.next()).await.expect("the watch ends");
    assert!(ended.is_some_and(|update| update.is_err()));
    let mut watch = storage.watch(b"", first).await.unwrap();
    assert!(watch.next().await.is_some_and(|update| update.is_ok()), "a new watch is at the other");
}
