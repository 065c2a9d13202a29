//! The same barrier over a file and over a real etcd, which is killed while it is written to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_barrier::{Barrier, Store, StoreError, Txn};
use holdfast_storage::{Range, Storage};
use holdfast_storage_etcd::{Config, EtcdStorage};
use holdfast_storage_file::FileStorage;

use crate::etcd::Etcd;
use crate::support::{bytes, create, delete, open, put, read, until};

/// Batches in flight at once.
const LANES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_everything_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let barrier = open(Arc::new(FileStorage::open(&path).unwrap()), "one").await;
    put(&barrier, "a/b", "1").await.unwrap();
    barrier.seal().await;
    drop(barrier);
    // A disk access under way holds the file until it is done.
    let mut again = FileStorage::open(&path);
    until("the file is free", || {
        if again.is_err() {
            again = FileStorage::open(&path);
        }
        std::future::ready(again.is_ok())
    })
    .await;
    let barrier = open(Arc::new(again.unwrap()), "another name").await;
    assert_eq!(read(&barrier, "a/b").await.unwrap(), "1");
    assert_eq!(barrier.list("", "", 0).await.unwrap(), ["a/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_learns_no_name_and_no_value() {
    let etcd = Etcd::start().await;
    let storage = connect(&etcd, "holdfast/").await;
    let barrier = open(storage.clone(), "one").await;
    for number in 0..40 {
        put(&barrier, &format!("canary/{number}/canary"), "canary").await.unwrap();
    }
    assert_eq!(barrier.list("canary/", "", 0).await.unwrap().len(), 40);
    barrier.seal().await;
    let all = storage.range(Range::prefix("")).await.unwrap().items;
    assert!(all.len() > 40);
    for item in all {
        for haystack in [&item.key, &item.value] {
            assert!(!haystack.windows(6).any(|window| window == b"canary"), "{item:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_etcd_see_each_others_writes() {
    let etcd = Etcd::start().await;
    let one = open(connect(&etcd, "").await, "one").await;
    let two = open(connect(&etcd, "").await, "two").await;
    for number in 0..30 {
        let (writer, reader) = if number % 2 == 0 { (&one, &two) } else { (&two, &one) };
        put(writer, "a", &number.to_string()).await.unwrap();
        assert_eq!(read(reader, "a").await.unwrap(), number.to_string());
    }
}

/// Killed hard under load and started again: what was answered is there, what was refused is not.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_be_killed_at_any_time() {
    let mut etcd = Etcd::start().await;
    let barrier = open(connect(&etcd, "").await, "one").await;
    let writers: Vec<_> = (0..8).map(|writer| tokio::spawn(write_much(barrier.clone(), writer))).collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        etcd.restart();
        etcd.wait_until_ready(|| Config { endpoints: vec![etcd.endpoint.clone()], ..Config::default() }).await;
    }
    let mut kept = 0;
    for writer in writers {
        for (path, outcome) in writer.await.unwrap() {
            let found = read(&barrier, &path).await;
            match outcome {
                Ok(_) => assert_eq!(found.as_deref(), Some("v"), "{path} was answered and is lost"),
                Err(StoreError::Unavailable(_)) => assert_eq!(found, None, "{path} was refused and is there"),
                Err(error) => panic!("{path}: {error}"),
            }
            kept += u32::from(outcome.is_ok());
        }
    }
    assert!(kept > 100, "{kept}");
    assert!(barrier.fsck().await.unwrap().is_clean());
}

/// Nothing is known of what is under way. Who is in no batch yet is refused in time, and it never happens; so are reads.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_etcd_that_stands_still_is_refused_in_time() {
    let etcd = Etcd::start().await;
    // As three members of which none answers.
    let config = Config { endpoints: vec![etcd.endpoint.clone(); 3], ..Config::default() };
    let barrier = open(Arc::new(EtcdStorage::connect(config).await.unwrap()), "one").await;
    put(&barrier, "all", "").await.unwrap();
    etcd.signal("-STOP");
    let begun = Instant::now();
    // All write one key, so no two travel together.
    let mut writers: tokio::task::JoinSet<_> = (0..20)
        .map(|number| {
            let (barrier, mut txn) = (barrier.clone(), Txn::new());
            txn.put("all".to_owned(), bytes(&number.to_string())).put(format!("w{number}"), bytes("v"));
            async move { (number, barrier.commit(txn).await) }
        })
        .collect();
    let (in_time, mut refused) = (Duration::from_secs(5)..Duration::from_secs(8), Vec::new());
    while writers.len() > LANES {
        let ended = tokio::time::timeout(in_time.end, writers.join_next()).await.expect("nobody waits longer");
        let (number, outcome) = ended.unwrap().unwrap();
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{number}: {outcome:?}");
        assert!(in_time.contains(&begun.elapsed()), "{number}: {:?}", begun.elapsed());
        refused.push(number);
    }
    let begun = Instant::now();
    assert!(matches!(barrier.get("w0").await, Err(StoreError::Unavailable(_))));
    assert!(begun.elapsed() < in_time.end, "{:?}", begun.elapsed());

    etcd.signal("-CONT");
    until("it is written again", || async { put(&barrier, "later", "1").await.is_ok() }).await;
    let mut done = Vec::new();
    while let Some(writer) = writers.join_next().await {
        match writer.unwrap() {
            (number, Ok(revision)) => done.push((revision, number)),
            (number, Err(StoreError::Unavailable(_))) => refused.push(number),
            (number, Err(error)) => panic!("{number}: {error}"),
        }
    }
    until("it is read again", || async { matches!(barrier.get("later").await, Ok(Some(_))) }).await;
    for (_, number) in &done {
        assert_eq!(read(&barrier, &format!("w{number}")).await.as_deref(), Some("v"), "{number} was answered");
    }
    for number in refused {
        assert_eq!(read(&barrier, &format!("w{number}")).await, None, "{number} was refused");
    }
    let last = done.iter().max().map_or_else(String::new, |(_, number)| number.to_string());
    assert_eq!(read(&barrier, "all").await.unwrap(), last);
    assert!(barrier.fsck().await.unwrap().is_clean());
}

/// etcd is put back to an older state under a running server: what is gone is gone from memory too, and it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_restored_is_read_anew() {
    let mut etcd = Etcd::start().await;
    let ready = |endpoint: String| move || Config { endpoints: vec![endpoint.clone()], ..Config::default() };
    let barrier = open(connect(&etcd, "").await, "one").await;
    put(&barrier, "kept", "1").await.unwrap();
    etcd.restart_after(|folder| copy(&folder.join("data"), &folder.join("saved")));
    etcd.wait_until_ready(ready(etcd.endpoint.clone())).await;
    for number in 0..20 {
        put(&barrier, &format!("lost{number}"), "1").await.unwrap();
        assert!(read(&barrier, &format!("lost{number}")).await.is_some());
    }
    etcd.restart_after(|folder| {
        std::fs::remove_dir_all(folder.join("data")).unwrap();
        std::fs::rename(folder.join("saved"), folder.join("data")).unwrap();
    });
    etcd.wait_until_ready(ready(etcd.endpoint.clone())).await;
    until("the lost key is gone from memory", || async {
        matches!(barrier.get("lost1").await, Ok(None)) && matches!(barrier.get("kept").await, Ok(Some(_)))
    })
    .await;
    put(&barrier, "new", "1").await.unwrap();
    assert_eq!(read(&barrier, "new").await.unwrap(), "1");
    assert_eq!(barrier.list("", "", 0).await.unwrap(), ["kept", "new"]);
    assert!(barrier.fsck().await.unwrap().is_clean());
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The quota of etcd is used up: writes are refused with the reason, reads go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_refuses_writes_and_goes_on_reading() {
    let etcd = Etcd::spawn("http", &["--quota-backend-bytes=16777216".to_owned()]);
    etcd.wait_until_ready(|| Config { endpoints: vec![etcd.endpoint.clone()], ..Config::default() }).await;
    let barrier = open(connect(&etcd, "").await, "one").await;
    let other = open(connect(&etcd, "").await, "two").await;
    let large = "v".repeat(900 * 1024);
    let mut written = 0;
    let refusal = loop {
        match put(&barrier, &format!("k{written}"), &large).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the quota does not hold");
    };
    assert!(matches!(refusal, StoreError::NoSpace), "{refusal}");
    assert_eq!(barrier.list("", "", 0).await.unwrap().len(), written);
    assert_eq!(read(&barrier, "k0").await.unwrap(), large);
    assert!(matches!(put(&barrier, "small", "v").await, Err(StoreError::NoSpace)));
    assert_eq!(read(&barrier, "small").await, None);
    // Deletes go on, also beside writes, and one who has written nothing takes them for ours.
    let (refused, deleted) = tokio::join!(put(&barrier, "k1", "v"), delete(&barrier, "k0"));
    assert!(matches!(refused, Err(StoreError::NoSpace)));
    let revision = deleted.unwrap();
    until("it is seen", || async { other.get("k0").await.is_ok_and(|entry| entry.is_none()) }).await;
    assert_eq!((read(&barrier, "k0").await, read(&barrier, "k1").await), (None, Some(large)));
    assert!(other.status().unwrap().applied >= revision);
    assert_eq!((barrier.integrity_violations(), other.integrity_violations()), (0, 0));
}

async fn write_much(barrier: Arc<Barrier>, writer: u32) -> Vec<(String, Result<i64, StoreError>)> {
    let mut outcomes = Vec::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    let mut number = 0;
    while tokio::time::Instant::now() < end {
        let path = format!("w{writer}/{number}");
        let outcome = create(&barrier, &path, "v").await;
        if outcome.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        outcomes.push((path, outcome));
        number += 1;
    }
    outcomes
}

async fn connect(etcd: &Etcd, prefix: &str) -> Arc<EtcdStorage> {
    let config = Config { endpoints: vec![etcd.endpoint.clone()], prefix: prefix.to_owned(), ..Config::default() };
    Arc::new(EtcdStorage::connect(config).await.unwrap())
}
