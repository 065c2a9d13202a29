//! The whole store out and in again.

use holdfast_barrier::Restore;
use holdfast_core::{Answer, Error, Verb};
use holdfast_snapshot::{Entry, Reader};
use serde_json::json;

use crate::bench::{Bench, Make, core, data, outside, until};

impl Bench {
    async fn snapshot(&self) -> Vec<u8> {
        let Answer::Stream { mut pieces, .. } =
            self.answer(&self.root, Verb::Read, "sys/storage/raft/snapshot", json!({})).await
        else {
            panic!("no stream");
        };
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        bytes
    }

    async fn put_back(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let (to, pieces) = tokio::sync::mpsc::channel(1);
        let mut raw = self.raw(&self.root, Verb::Write, path, json!({}));
        raw.stream = Some(pieces);
        let bytes = bytes.to_vec();
        let feed = tokio::spawn(async move {
            for piece in bytes.chunks(3000) {
                if to.send(bytes::Bytes::copy_from_slice(piece)).await.is_err() {
                    return;
                }
            }
        });
        let answer = self.core.handle(raw).await;
        feed.await.unwrap();
        match answer {
            Answer::Error(error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn filled() -> (Self, String) {
        let bench = Self::open().await;
        bench.write("sys/mounts/probe", json!({"type": "probe"})).await;
        for number in 0..150 {
            bench.write(&format!("probe/data/{number}"), json!({"n": number})).await;
        }
        let mounts = bench.read("sys/mounts").await;
        let uuid = mounts["probe/"]["uuid"].as_str().unwrap().to_owned();
        (bench, uuid)
    }
}

const PATH: &str = "sys/storage/raft/snapshot";

#[tokio::test]
async fn a_snapshot_brings_everything_back_and_holds_revocations() {
    let (bench, uuid) = Bench::filled().await;
    let lease = bench.ok(&bench.root, Verb::Read, "probe/creds/a", json!({})).await.lease_id;
    let archive = bench.snapshot().await;
    assert!(!archive.windows(5).any(|window| window == b"probe"));
    bench.write("probe/data/1", json!({"n": "changed"})).await;
    bench.write("probe/data/new", json!({"n": 1})).await;
    bench.ok(&bench.root, Verb::Delete, "probe/data/2", json!({})).await;
    let late = bench.token(json!({})).await;
    bench.write("sys/rotate", json!({})).await;

    bench.put_back(PATH, &archive).await.unwrap();
    assert!(bench.core.is_unsealed(), "it opens again by itself");
    assert_eq!(
        (bench.read("probe/data/1").await["n"].clone(), bench.read("probe/data/2").await["n"].clone()),
        (json!(1), json!(2))
    );
    assert!(matches!(bench.answer(&bench.root, Verb::Read, "probe/data/new", json!({})).await, Answer::Error(_)));
    assert!(!bench.is_good(&late).await, "a token made after the snapshot is none");
    let found = bench.read("sys/fsck").await;
    assert_eq!(found["clean"], true, "{found:?}");

    // What the world may have renewed since is not taken away.
    assert_eq!(bench.read("sys/leases/hold").await["held"], true);
    bench.advance(3600);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(outside(&uuid).len(), 1);
    let renewed = bench.write("sys/leases/renew", json!({"lease_id": lease, "increment": 600})).await;
    assert!(renewed.lease_duration > 0);
    bench.advance(3600);
    bench.ok(&bench.root, Verb::Delete, "sys/leases/hold", json!({})).await;
    until(async || outside(&uuid).is_empty()).await;
    assert_eq!(bench.read("sys/leases/hold").await["held"], false);
}

#[tokio::test]
async fn the_shares_of_a_rekey_stay_good_over_a_restore() {
    let (mut bench, _) = Bench::filled().await;
    let archive = bench.snapshot().await;
    let begun = data(bench.write("sys/rotate/root/init", json!({"secret_shares": 3, "secret_threshold": 2})).await);
    let mut last = Default::default();
    for share in &bench.shares[..2] {
        last = data(bench.write("sys/rotate/root/update", json!({"key": share, "nonce": begun["nonce"]})).await);
    }
    bench.shares = serde_json::from_value(last["keys_base64"].clone()).unwrap();
    bench.put_back(PATH, &archive).await.unwrap();
    bench.restart().await;
    assert_eq!(bench.read("probe/data/7").await["n"], 7);
}

#[tokio::test]
async fn an_edited_or_cut_off_snapshot_changes_nothing() {
    let (bench, _) = Bench::filled().await;
    let archive = bench.snapshot().await;
    bench.write("probe/data/1", json!({"n": "kept"})).await;
    assert!(bench.put_back(PATH, &archive[..archive.len() / 2]).await.is_err());
    assert!(bench.put_back(PATH, b"no archive").await.is_err());
    // Records left out, with checksums that fit again: only the seal tells.
    let (mut reader, mut writer) = (Reader::new(), None);
    let mut edited = Vec::new();
    for entry in reader.push(&archive).unwrap() {
        match entry {
            Entry::Meta(meta) => writer = Some(holdfast_snapshot::Writer::new(&meta)),
            Entry::Chunk(chunk) => {
                let mut records = holdfast_snapshot::decode(&chunk).unwrap();
                records.retain(|(key, _)| !key.starts_with(b"data/") || key.len() % 2 == 0);
                writer.as_mut().unwrap().chunk(&holdfast_snapshot::encode(&records));
            }
            Entry::End { seal, .. } => edited.extend(writer.take().unwrap().finish(&seal)),
        }
    }
    let refused = bench.put_back(PATH, &edited).await.unwrap_err();
    assert!(refused.to_string().contains("could not verify hash file"), "{refused}");
    assert_eq!(bench.read("probe/data/1").await["n"], "kept");
    assert!(!bench.storage.dump().iter().any(|item| item.key.starts_with(b"restore/")), "nothing stays staged");
}

#[tokio::test]
async fn another_cluster_takes_a_snapshot_only_by_force_and_then_needs_its_shares() {
    let (first, _) = Bench::filled().await;
    let archive = first.snapshot().await;
    let mut second = Bench::open().await;
    assert!(second.put_back(PATH, &archive).await.is_err());
    second.put_back("sys/storage/raft/snapshot-force", &archive).await.unwrap();
    assert!(!second.core.is_unsealed());
    assert!(matches!(
        second.answer("", Verb::Write, "sys/unseal", json!({"key": second.shares[0]})).await,
        Answer::Bare { .. }
    ));
    second.fails("", Verb::Write, "sys/unseal", json!({"key": second.shares[1]})).await;
    (second.shares, second.root) = (first.shares.clone(), first.root.clone());
    second.unseal().await;
    assert_eq!(second.read("probe/data/149").await["n"], 149);
    assert_eq!(second.read("sys/fsck").await["clean"], true);
}

/// Killed between the point of no return and the end: whoever starts next goes on, and nobody serves before.
#[tokio::test]
async fn a_restore_that_was_killed_is_finished_by_the_next_start() {
    let (mut bench, _) = Bench::filled().await;
    let archive = bench.snapshot().await;
    bench.write("probe/data/1", json!({"n": "changed"})).await;
    let (barrier, mut chunks) = (bench.core.config().barrier.clone(), 0);
    for entry in Reader::new().push(&archive).unwrap() {
        if let Entry::Chunk(chunk) = entry {
            barrier.stage("killed", chunks, chunk).await.unwrap();
            chunks += 1;
        }
    }
    let restore = Restore { id: "killed".to_owned(), chunks, foreign: false, hold: json!({}) };
    barrier.commit_restore(&restore).await.unwrap();
    assert!(matches!(bench.fails(&bench.root, Verb::Read, "probe/data/1", json!({})).await, Error::Sealed));
    drop(barrier);

    bench.core = core(&bench.storage, &bench.clock, Make::default());
    bench.fails("", Verb::Write, "sys/unseal", json!({"key": bench.shares[0]})).await;
    bench.core.keep_open().await.unwrap();
    bench.unseal().await;
    assert_eq!(bench.read("probe/data/1").await["n"], 1);
    assert_eq!(bench.read("sys/fsck").await["clean"], true);
    assert_eq!(bench.read("sys/leases/hold").await["held"], true);
}
