//! A store that takes no puts: what only deletes goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_barrier::{Check, Store, StoreError, Txn};

use crate::hub::{Three, evictions, three};
use crate::support::{Fault, Faulty, delete, open, put, read, until};

const LONGEST_STALL: Duration = Duration::from_secs(12);

fn lanes(store: &Faulty) -> usize {
    store.inner.dump().iter().filter(|item| item.key.starts_with(b"lane/")).count()
}

/// Writes that came together, the deletes with puts between them.
#[tokio::test]
async fn deletes_do_not_fail_for_puts_beside_them() {
    let store = Faulty::new();
    let (one, two) = (open(Arc::new(store.clone()), "one").await, open(Arc::new(store.clone()), "two").await);
    for number in 0..20 {
        put(&one, &format!("k{number}"), "1").await.unwrap();
    }
    store.fill(true);
    let writes = (0..20).map(|number| {
        let (one, path) = (one.clone(), format!("k{number}"));
        tokio::spawn(async move {
            match number % 2 {
                0 => put(&one, &path, "2").await,
                _ => delete(&one, &path).await,
            }
        })
    });
    for (number, write) in writes.collect::<Vec<_>>().into_iter().enumerate() {
        match (number % 2, write.await.unwrap()) {
            (0, Err(StoreError::NoSpace)) | (1, Ok(_)) => {}
            (_, outcome) => panic!("{number}: {outcome:?}"),
        }
    }
    for number in 0..20 {
        let (path, expected) = (format!("k{number}"), (number % 2 == 0).then(|| "1".to_owned()));
        until("the other sees it", || async {
            two.get(&path).await.is_ok_and(|entry| entry.is_some() == expected.is_some())
        })
        .await;
        assert_eq!(read(&one, &path).await, expected);
    }
    assert_eq!((one.integrity_violations(), two.integrity_violations()), (0, 0));
    store.fill(false);
    put(&one, "k1", "3").await.unwrap();
    assert_eq!(read(&two, "k1").await.unwrap(), "3");
    until("all lanes are there", || async {
        put(&one, "k1", "3").await.unwrap();
        lanes(&store) == 6
    })
    .await;
    delete(&one, "k1").await.unwrap();
    assert_eq!(read(&two, "k1").await, None);
    assert_eq!((one.integrity_violations(), two.integrity_violations()), (0, 0));
    assert!(one.fsck().await.unwrap().is_clean());
}

/// One that was stopped meanwhile finds a store with room, and deletes that no record of a lane names.
#[tokio::test]
async fn who_sees_deletes_of_a_full_store_later_is_told_whose_they_were() {
    let store = Faulty::new();
    let roomy = Faulty::over(store.inner.clone());
    let (one, two) = (open(Arc::new(store.clone()), "one").await, open(Arc::new(roomy), "two").await);
    put(&one, "k1", "1").await.unwrap();
    put(&one, "k2", "1").await.unwrap();
    store.fill(true);
    delete(&one, "k1").await.unwrap();
    delete(&one, "k2").await.unwrap();
    store.fill(false);
    for path in ["k1", "k2"] {
        until("it is told", || async { matches!(two.get(path).await, Ok(None)) }).await;
    }
    store.fill(true);
    delete(&one, "never").await.unwrap();
    assert_eq!((one.integrity_violations(), two.integrity_violations()), (0, 0));
}

/// Of two that consume the same, one does.
#[tokio::test]
async fn deletes_alone_compare_as_others_do() {
    let store = Faulty::new();
    let barrier = open(Arc::new(store.clone()), "one").await;
    let revision = put(&barrier, "once", "1").await.unwrap();
    store.fill(true);
    assert!(matches!(put(&barrier, "k", "1").await, Err(StoreError::NoSpace)));
    let consume = || {
        let mut txn = Txn::new();
        txn.check("once".to_owned(), Check::At(revision)).delete("once".to_owned());
        barrier.commit(txn)
    };
    let (first, second) = tokio::join!(consume(), consume());
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert!(matches!(first.and(second), Err(StoreError::Conflict)));
}

/// Its answer says nothing, and it is still under way: it is ended first, by what makes room rather than takes some.
#[tokio::test]
async fn a_delete_of_unknown_outcome_does_not_happen_later() {
    let store = Faulty::new();
    let barrier = open(Arc::new(store.clone()), "one").await;
    put(&barrier, "k", "1").await.unwrap();
    store.fill(true);
    assert!(matches!(put(&barrier, "other", "1").await, Err(StoreError::NoSpace)));
    store.plan(&[Fault::Delay]);
    assert!(matches!(delete(&barrier, "k").await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.deliver().await, 1);
    assert_eq!(read(&barrier, "k").await.unwrap(), "1");
    assert!(matches!(delete(&barrier, "k").await, Err(StoreError::NoSpace)), "nothing is left to compare");
    store.fill(false);
    until("all lanes are there", || async {
        put(&barrier, "other", "1").await.unwrap();
        lanes(&store) == 3
    })
    .await;
    store.fill(true);
    assert!(matches!(put(&barrier, "other", "2").await, Err(StoreError::NoSpace)));
    delete(&barrier, "k").await.unwrap();
    assert_eq!((read(&barrier, "k").await, barrier.integrity_violations()), (None, 0));
}

/// There is no room for a tombstone.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replica_is_evicted_from_a_full_store() {
    let Three { hub, a, b, c, at_b, at_c, .. } = three().await;
    at_b.fill(true);
    at_c.fill(true);
    hub.hang_up("a");
    drop(a);
    let start = Instant::now();
    assert!(matches!(put(&b, "k", "1").await, Err(StoreError::NoSpace)));
    delete(&b, "old").await.unwrap();
    assert!(start.elapsed() > Duration::from_secs(3), "it was not waited for: {:?}", start.elapsed());
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    assert_eq!((evictions(&[&b, &c]), read(&c, "old").await), (1, None));
}
