//! What somebody who has the store, or a sealed process, can learn.

use std::sync::Arc;

use holdfast_barrier::{Store, Txn};

use crate::support::{bytes, open_memory, put, sealed};

const NAME: &str = "canary-name";
const VALUE: &str = "canary-value";

#[tokio::test]
async fn the_store_holds_no_plain_name_or_value() {
    let (barrier, storage) = open_memory().await;
    let mut txn = Txn::new();
    txn.put(format!("{NAME}/{NAME}/{NAME}"), bytes(VALUE)).put(NAME.to_owned(), bytes(VALUE));
    barrier.commit(txn).await.unwrap();
    let mut gone = Txn::new();
    gone.delete(NAME.to_owned());
    barrier.commit(gone).await.unwrap();
    barrier.rotate().await.unwrap();
    put(&barrier, NAME, VALUE).await.unwrap();
    barrier.seal().await;
    let dump = storage.dump();
    assert!(dump.len() >= 4, "there is something to look at");
    for item in dump {
        for haystack in [&item.key, &item.value] {
            assert!(!haystack.windows(6).any(|window| window == b"canary"), "{item:?}");
        }
    }
}

#[tokio::test]
async fn equal_values_look_different() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "a", VALUE).await.unwrap();
    put(&barrier, "b", VALUE).await.unwrap();
    let values: Vec<_> = storage.dump().into_iter().filter(|item| item.key.starts_with(b"data/")).collect();
    let tail = |at: usize| values[at].value.slice(70..);
    assert_ne!(tail(0), tail(1));
}

#[tokio::test]
async fn a_sealed_barrier_tells_nothing() {
    let (open, storage) = open_memory().await;
    put(&open, NAME, VALUE).await.unwrap();
    let barrier = sealed(Arc::new(storage), "two");
    assert!(barrier.is_sealed());
    assert!(barrier.get(NAME).await.is_err());
    assert!(barrier.list("", "", 0).await.is_err());
    assert!(barrier.fsck().await.is_err());
    assert!(barrier.key_status().is_none());
    assert!(barrier.rotate().await.is_err());
}
