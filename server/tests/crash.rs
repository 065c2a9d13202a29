//! kill -9 while writing: what was acknowledged is there afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::fixture::{SOON, Server, data, etcd::Etcd, folder, unseal};

const WRITERS: usize = 4;

/// Also for stores that other modules bring.
pub async fn acknowledged_writes_survive(folder: &std::path::Path, storage: &str) {
    let server = Server::start(folder, storage).await;
    let (client, made) = server.initialize(1, 1).await;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, written) = (client.clone(), written.clone());
            tokio::spawn(async move {
                let mut acknowledged = 0;
                while client.write(&format!("kv/{writer}/{acknowledged}"), json!({"n": acknowledged})).await.is_ok() {
                    acknowledged += 1;
                    written.fetch_add(1, Ordering::Relaxed);
                }
                acknowledged
            })
        })
        .collect();
    let deadline = Instant::now() + SOON * 4;
    while written.load(Ordering::Relaxed) < 200 {
        assert!(Instant::now() < deadline, "writes are too slow:\n{}", server.errors());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.unwrap());
    }

    let server = Server::start(folder, storage).await;
    let status = unseal(&server.client(), &made.keys_base64).await;
    assert_eq!(status["sealed"], false, "{}", server.errors());
    let client = server.client().with_token(client.token().unwrap().duplicate());
    for (writer, count) in acknowledged.iter().enumerate() {
        for n in 0..*count {
            assert_eq!(data(&client, &format!("kv/{writer}/{n}")).await["n"], n, "write {n} of {writer} is lost");
        }
    }
    // And it goes on.
    client.write("kv/after", json!({"n": 1})).await.unwrap();
}

#[tokio::test]
async fn in_a_file() {
    let folder = folder();
    let storage = format!("storage \"file\" {{ path = {:?} }}\n", folder.path().join("data").display().to_string());
    acknowledged_writes_survive(folder.path(), &storage).await;
}

#[tokio::test]
async fn in_etcd() {
    let (folder, etcd) = (folder(), Etcd::start().await);
    acknowledged_writes_survive(folder.path(), &etcd.stanza(etcd.folder(), "client")).await;
}
