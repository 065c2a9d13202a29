//! Rekey, sealing and snapshots of the real process on a real etcd.

use std::time::{Duration, Instant};

use holdfast_client::Client;
use serde_json::{Value, json};

use crate::fixture::{SOON, Server, data, etcd::Etcd, folder, pieces, put, unseal};

/// Gives these shares to a rekey that was begun; the last answer.
async fn rekey(client: &Client, shares: &[String]) -> Value {
    let wish = json!({"secret_shares": 3, "secret_threshold": 2});
    let begun: Value = client.bare(put("sys/rekey/init", wish)).await.unwrap();
    let mut last = Value::Null;
    for share in shares {
        let body = json!({"key": share, "nonce": begun["nonce"]});
        last = client.bare(put("sys/rekey/update", body)).await.unwrap();
    }
    last
}

fn shares_of(answer: &Value) -> Vec<String> {
    serde_json::from_value(answer["keys_base64"].clone()).unwrap()
}

async fn until_sealed(client: &Client, wanted: bool) {
    let deadline = Instant::now() + SOON;
    while client.seal_status().await.unwrap().sealed != wanted {
        assert!(Instant::now() < deadline, "sealed stays {}", !wanted);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gives a key until it is taken: while a restore is carried out none is.
async fn unseal_when_restored(client: &Client, key: &str) {
    let deadline = Instant::now() + SOON;
    while let Err(error) = client.bare::<Value>(put("sys/unseal", json!({ "key": key }))).await {
        assert!(error.to_string().contains("being restored") && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until_sealed(client, false).await;
}

#[tokio::test]
async fn new_shares_unseal_after_a_restart() {
    let (etcd, folder) = (Etcd::start().await, folder());
    let storage = etcd.stanza(etcd.folder(), "client");
    let server = Server::start(folder.path(), &storage).await;
    let (client, made) = server.initialize(3, 2).await;
    let done = rekey(&client, &made.keys_base64[..2]).await;
    assert_eq!(done["complete"], true);
    assert!(server.stop().success());
    let server = Server::start(folder.path(), &storage).await;
    assert_eq!(unseal(&server.client(), &shares_of(&done)[1..]).await["sealed"], false);
}

/// Whenever it is killed, the old or the new shares open it.
#[tokio::test]
async fn a_kill_during_a_rekey_leaves_shares_that_open() {
    let (etcd, folder) = (Etcd::start().await, folder());
    let storage = etcd.stanza(etcd.folder(), "client");
    let mut server = Server::start(folder.path(), &storage).await;
    let (root, made) = server.initialize(3, 2).await;
    let (token, mut shares) = (root.token().unwrap().duplicate(), made.keys_base64);
    for delay in [0, 1, 2, 4, 8, 16] {
        let client = server.client().with_token(token.duplicate());
        let wish = json!({"secret_shares": 3, "secret_threshold": 2});
        // One that was begun before the kill is still there.
        client.delete("sys/rekey/init").await.unwrap();
        let begun: Value = client.bare(put("sys/rekey/init", wish)).await.unwrap();
        let give = |share: &String| put("sys/rekey/update", json!({"key": share, "nonce": begun["nonce"]}));
        let _: Value = client.bare(give(&shares[0])).await.unwrap();
        let last = give(&shares[1]);
        let task = tokio::spawn(async move { client.bare::<Value>(last).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill();
        let answer = task.await.unwrap();
        server = Server::start(folder.path(), &storage).await;
        let old = server.client().bare::<Value>(put("sys/unseal", json!({"key": shares[0]}))).await.unwrap();
        assert_eq!(old["progress"], 1);
        let old = server.client().bare::<Value>(put("sys/unseal", json!({"key": shares[2]}))).await;
        if let Ok(answer) = answer {
            shares = shares_of(&answer);
        }
        if old.is_err() || old.unwrap()["sealed"] == true {
            assert_eq!(unseal(&server.client(), &shares[..2]).await["sealed"], false, "delay {delay}: nobody opens it");
        }
    }
}

#[tokio::test]
async fn seal_seals_both_replicas_and_node_only_one() {
    let (etcd, first_folder, second_folder) = (Etcd::start().await, folder(), folder());
    let storage = etcd.stanza(etcd.folder(), "client");
    let first = Server::start(first_folder.path(), &storage).await;
    let (client, made) = first.initialize(1, 1).await;
    let second = Server::start(second_folder.path(), &storage).await;
    let other = second.client().with_token(client.token().unwrap().duplicate());
    unseal(&other, &made.keys_base64).await;
    assert_eq!(data(&client, "sys/ha-status").await["nodes"].as_array().unwrap().len(), 1 + 1);

    client.write("sys/seal", json!({"node": true})).await.unwrap();
    until_sealed(&client, true).await;
    assert!(!other.seal_status().await.unwrap().sealed);
    unseal(&client, &made.keys_base64).await;

    client.write("sys/seal", json!({})).await.unwrap();
    until_sealed(&other, true).await;
    until_sealed(&client, true).await;
    unseal(&other, &made.keys_base64).await;
    until_sealed(&other, false).await;
    assert!(client.seal_status().await.unwrap().sealed, "each brings its own keys into memory");
}

#[tokio::test]
async fn a_snapshot_brings_back_what_was_wiped() {
    let (etcd, folder) = (Etcd::start().await, folder());
    let server = Server::start(folder.path(), &etcd.stanza(etcd.folder(), "client")).await;
    let (client, _) = server.initialize(1, 1).await;
    client.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    for number in 0..300 {
        client.write(&format!("kv/{number}"), json!({"n": number, "text": "x".repeat(5000)})).await.unwrap();
    }
    let mut archive = Vec::new();
    let mut keep = |piece: &[u8]| {
        archive.extend_from_slice(piece);
        Ok(())
    };
    client.download("sys/storage/raft/snapshot", &mut keep).await.unwrap();
    client.delete("sys/mounts/kv").await.unwrap();
    assert!(client.read("kv/7").await.is_err());
    client.upload("sys/storage/raft/snapshot", pieces(&archive)).await.unwrap();
    assert_eq!(data(&client, "kv/7").await["n"], 7);
    assert_eq!(data(&client, "kv/299").await["n"], 299);
    let checked = data(&client, "sys/fsck").await;
    assert_eq!((&checked["clean"], &checked["restore_running"]), (&json!(true), &json!(false)));
    assert_eq!(data(&client, "sys/leases/hold").await["held"], true);
    client.delete("sys/leases/hold").await.unwrap();
    // In gzip's checksum. A bit further in front may say the same in other words: zeros copied from elsewhere are zeros.
    let checksum = archive.len() - 8;
    archive[checksum] ^= 1;
    assert!(client.upload("sys/storage/raft/snapshot", pieces(&archive)).await.is_err());
    assert_eq!(data(&client, "kv/7").await["n"], 7);
}

/// Whenever a restore is killed, the store is afterwards what it was or what the snapshot has, and never something of both.
#[tokio::test]
async fn a_kill_during_a_restore_leaves_one_of_both_stores() {
    let (etcd, folder) = (Etcd::start().await, folder());
    let storage = etcd.stanza(etcd.folder(), "client");
    let mut server = Server::start(folder.path(), &storage).await;
    let (root, made) = server.initialize(1, 1).await;
    let token = root.token().unwrap().duplicate();
    root.write("sys/mounts/kv", json!({"type": "kv", "options": {"version": "1"}})).await.unwrap();
    for number in 0..200 {
        root.write(&format!("kv/{number}"), json!({"text": "x".repeat(20_000)})).await.unwrap();
    }
    root.write("kv/store", json!({"is": "of the snapshot"})).await.unwrap();
    let mut archive = Vec::new();
    let mut keep = |piece: &[u8]| {
        archive.extend_from_slice(piece);
        Ok(())
    };
    root.download("sys/storage/raft/snapshot", &mut keep).await.unwrap();
    root.write("kv/store", json!({"is": "later"})).await.unwrap();
    root.write("kv/more", json!({"is": "later"})).await.unwrap();

    let mut resumed = 0;
    // While the archive is being laid beside the store, and (None) as soon as it is decided that it is taken.
    for kill in [Some(20), None, Some(60), None] {
        let client = server.client().with_token(token.duplicate());
        let sent = pieces(&archive);
        let upload = tokio::spawn(async move { client.upload("sys/storage/raft/snapshot", sent).await });
        match kill {
            Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            None => {
                let client = server.client();
                let deadline = Instant::now() + SOON;
                while !upload.is_finished() && !client.seal_status().await.unwrap().sealed {
                    assert!(Instant::now() < deadline, "the restore is not decided");
                }
            }
        }
        let over = upload.is_finished();
        server.kill();
        let _ = upload.await;
        server = Server::start(folder.path(), &storage).await;
        unseal_when_restored(&server.client(), &made.keys_base64[0]).await;
        let client = server.client().with_token(token.duplicate());
        let (store, more) = (data(&client, "kv/store").await, data(&client, "kv/more").await);
        match store["is"].as_str() {
            Some("later") => assert!(!more.is_null() && kill.is_some(), "{store} {more}"),
            Some("of the snapshot") => {
                assert!(more.is_null(), "{more}");
                assert_eq!(data(&client, "sys/leases/hold").await["held"], true);
                resumed += u32::from(!over);
            }
            other => panic!("{other:?}"),
        }
        for number in 0..200 {
            assert!(data(&client, &format!("kv/{number}")).await["text"].is_string(), "{number}");
        }
        assert_eq!(data(&client, "sys/fsck").await["clean"], true);
        client.write("kv/store", json!({"is": "later"})).await.unwrap();
        client.write("kv/more", json!({"is": "later"})).await.unwrap();
    }
    assert!(resumed > 0, "no kill came while a restore was carried out");
}
