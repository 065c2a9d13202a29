//! What an older version stored must be readable for ever: a whole store of format version 1, as it was written then.
//!
//! `HOLDFAST_WRITE_FIXTURES=1` writes the file of the current version anew; do that only when a version is added.

use std::sync::Arc;

use holdfast_barrier::{Barrier, Options};
use holdfast_base::{ManualClock, SeededEntropy, Timestamp};
use holdfast_storage::{MemoryStorage, Op, Storage, Txn};

use crate::support::{put, read, root, sealed};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/store-v1.txt");

#[tokio::test]
async fn a_store_of_version_1_opens() {
    if std::env::var_os("HOLDFAST_WRITE_FIXTURES").is_some() {
        write_fixture().await;
    }
    let storage = MemoryStorage::new();
    let text = std::fs::read_to_string(FIXTURE).unwrap();
    let then = text.lines().map(|line| {
        let (key, value) = line.split_once(' ').unwrap();
        Op::put(unhex(key), unhex(value))
    });
    storage.txn(Txn { then: then.collect(), ..Txn::default() }).await.unwrap();

    let barrier = sealed(Arc::new(storage), "fixture");
    barrier.unseal(root()).await.unwrap();
    assert_eq!(read(&barrier, "kv/one").await.unwrap(), "first term");
    assert_eq!(read(&barrier, "kv/folder/two").await.unwrap(), "second term");
    assert_eq!(barrier.key_status().unwrap().term, 2);
    assert_eq!(barrier.read_clear("seal").await.unwrap().unwrap().0, b"config");
    let derived = barrier.derive_key("salt").unwrap();
    assert_eq!(hex(derived.expose()), "e7f00282d9bfb450a90254462721bf153c72985afe11d16d578aab3d01f0fbdd");
    assert!(barrier.fsck().await.unwrap().is_clean());
}

async fn write_fixture() {
    let storage = MemoryStorage::new();
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let options = Options { instance: "fixture".to_owned(), ..Options::default() };
    let barrier = Barrier::open_with(Arc::new(storage.clone()), clock, Arc::new(SeededEntropy::new(1)), options);
    barrier.initialize_with(&root(), vec![("seal".to_owned(), b"config".to_vec())]).await.unwrap();
    barrier.unseal(root()).await.unwrap();
    put(&barrier, "kv/one", "first term").await.unwrap();
    barrier.rotate().await.unwrap();
    put(&barrier, "kv/folder/two", "second term").await.unwrap();
    // Members and lanes belong to the store as a crash leaves it.
    let text: String = storage.dump().iter().map(|item| format!("{} {}\n", hex(&item.key), hex(&item.value))).collect();
    std::fs::write(FIXTURE, text).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
