//! Values, names, transactions, sealing.

use std::sync::Arc;

use holdfast_barrier::{Changed, Check, InitError, Store, StoreError, Txn, UnsealError, one_request};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;

use crate::support::{bytes, create, open, open_memory, put, read, root, sealed, until};

#[tokio::test]
async fn what_is_written_is_read_at_once() {
    let (barrier, _) = open_memory().await;
    for number in 0..20 {
        let revision = put(&barrier, "a/b", &number.to_string()).await.unwrap();
        let entry = barrier.get("a/b").await.unwrap().unwrap();
        assert_eq!((entry.value, entry.revision), (bytes(&number.to_string()), revision));
    }
    assert!(barrier.get("a").await.unwrap().is_none());
}

#[tokio::test]
async fn it_survives_sealing_and_a_new_process() {
    let (barrier, storage) = open_memory().await;
    put(&barrier, "a", "1").await.unwrap();
    barrier.seal().await;
    assert!(barrier.is_sealed());
    assert!(matches!(barrier.get("a").await, Err(StoreError::Sealed)));
    assert!(matches!(put(&barrier, "a", "2").await, Err(StoreError::Sealed)));
    assert!(matches!(barrier.derive_key("x"), Err(StoreError::Sealed)));
    barrier.unseal(root()).await.unwrap();
    assert_eq!(read(&barrier, "a").await.unwrap(), "1");
    drop(barrier);
    let again = open(Arc::new(storage), "one").await;
    assert_eq!(read(&again, "a").await.unwrap(), "1");
}

#[tokio::test]
async fn initialisation_happens_once_and_with_its_records() {
    let storage = Arc::new(MemoryStorage::new());
    let (first, second) = (sealed(storage.clone(), "one"), sealed(storage.clone(), "two"));
    assert!(matches!(first.unseal(root()).await, Err(UnsealError::NotInitialized)));
    let records = vec![("seal".to_owned(), b"config".to_vec())];
    first.initialize_with(&root(), records.clone()).await.unwrap();
    assert!(matches!(second.initialize_with(&root(), records).await, Err(InitError::AlreadyInitialized)));
    assert!(matches!(second.initialize(&SecretBytes::new([1; 16])).await, Err(InitError::RootKeyLength)));
    assert_eq!(second.read_clear("seal").await.unwrap().unwrap().0, b"config");
    assert!(matches!(second.unseal(SecretBytes::new([8; 32])).await, Err(UnsealError::WrongKey)));
    second.unseal(root()).await.unwrap();
}

#[tokio::test]
async fn checks_hold_or_nothing_is_written() {
    let (barrier, _) = open_memory().await;
    let first = create(&barrier, "k", "1").await.unwrap();
    assert!(matches!(create(&barrier, "k", "2").await, Err(StoreError::Conflict)));
    let mut txn = Txn::new();
    txn.check("k".to_owned(), Check::At(first)).put("k".to_owned(), bytes("3")).put("l".to_owned(), bytes("3"));
    barrier.commit(txn).await.unwrap();
    let mut stale = Txn::new();
    stale.check("k".to_owned(), Check::At(first)).delete("k".to_owned()).put("m".to_owned(), bytes("4"));
    assert!(matches!(barrier.commit(stale).await, Err(StoreError::Conflict)));
    assert_eq!(read(&barrier, "k").await.unwrap(), "3");
    assert_eq!(read(&barrier, "m").await, None);
    let mut gone = Txn::new();
    gone.check("k".to_owned(), Check::Exists).delete("k".to_owned()).delete("never".to_owned());
    barrier.commit(gone).await.unwrap();
    assert_eq!(read(&barrier, "k").await, None);
}

#[tokio::test]
async fn folders_are_listed_by_plain_name() {
    let (barrier, _) = open_memory().await;
    for path in ["f/b", "f/a", "f/b/x", "f/c/x/y", "f/c/z", "other", "f2/a"] {
        put(&barrier, path, "v").await.unwrap();
    }
    assert_eq!(barrier.list("f/", "", 0).await.unwrap(), ["a", "b", "b/", "c/"]);
    assert_eq!(barrier.list("f/", "a", 2).await.unwrap(), ["b", "b/"]);
    assert_eq!(barrier.list("", "", 0).await.unwrap(), ["f/", "f2/", "other"]);
    assert_eq!(barrier.list("f/c/", "", 0).await.unwrap(), ["x/", "z"]);
    assert!(barrier.list("nothing/", "", 0).await.unwrap().is_empty());
}

/// What was derived from a state need not be derived again while it is the same.
#[tokio::test]
async fn a_state_is_known_again_until_anything_changes() {
    let (barrier, _) = open_memory().await;
    put(&barrier, "k", "1").await.unwrap();
    let mark = one_request(async {
        barrier.get("k").await.unwrap();
        barrier.mark().unwrap()
    })
    .await;
    assert!(barrier.mark().is_none(), "outside a request nothing is kept");
    let unchanged = || one_request(async { barrier.is_unchanged(&mark) });
    assert!(unchanged().await);
    put(&barrier, "other", "1").await.unwrap();
    assert!(!unchanged().await);
    barrier.seal().await;
    assert!(!unchanged().await);
}

/// More keys than one page, in folders larger than one page.
#[tokio::test]
async fn large_folders_are_listed_whole() {
    let (barrier, _) = open_memory().await;
    for folder in 0..3 {
        for chunk in 0..24 {
            let mut txn = Txn::new();
            for number in 0..50 {
                txn.put(format!("l/f{folder}/{chunk}-{number}"), bytes("v"));
            }
            barrier.commit(txn).await.unwrap();
        }
    }
    assert_eq!(barrier.list("l/", "", 0).await.unwrap(), ["f0/", "f1/", "f2/"]);
    assert_eq!(barrier.list("l/f1/", "", 0).await.unwrap().len(), 1200);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let (barrier, _) = open_memory().await;
    let mut txn = Txn::new();
    txn.put("big".to_owned(), SecretBytes::new(vec![0; 3 << 20]));
    assert!(matches!(barrier.commit(txn).await, Err(StoreError::TooLarge { .. })));
    let mut twice = Txn::new();
    twice.put("a".to_owned(), bytes("1")).delete("a".to_owned());
    assert!(matches!(barrier.commit(twice).await, Err(StoreError::Encode { .. })));
}

#[tokio::test]
async fn changes_are_told_by_plain_path_when_they_can_be_read() {
    let (barrier, _) = open_memory().await;
    let mut changes = barrier.changes();
    put(&barrier, "a/b", "1").await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Changed::Path("a/b".to_owned()));
    assert_eq!(read(&barrier, "a/b").await.unwrap(), "1");
}

#[tokio::test]
async fn many_writers_lose_no_increment() {
    let (barrier, _) = open_memory().await;
    put(&barrier, "n", "0").await.unwrap();
    let writers = (0..16).map(|_| {
        let barrier = barrier.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let entry = barrier.get("n").await.unwrap().unwrap();
                    let n: u32 = std::str::from_utf8(entry.value.expose()).unwrap().parse().unwrap();
                    let mut txn = Txn::new();
                    txn.check("n".to_owned(), Check::At(entry.revision))
                        .put("n".to_owned(), bytes(&(n + 1).to_string()));
                    match barrier.commit(txn).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(read(&barrier, "n").await.unwrap(), "160");
}

#[tokio::test]
async fn history_that_is_compacted_does_not_stop_reads() {
    let (barrier, storage) = open_memory().await;
    let mut last = 0;
    for number in 0..50 {
        last = put(&barrier, &format!("k{number}"), "v").await.unwrap();
    }
    storage.compact(last);
    until("reads go on", || async { barrier.get("k1").await.is_ok_and(|entry| entry.is_some()) }).await;
    assert_eq!(barrier.list("", "", 0).await.unwrap().len(), 50);
}
