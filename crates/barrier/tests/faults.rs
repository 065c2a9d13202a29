//! Lost answers, lost requests, refusals, a store that is away.

use std::sync::Arc;
use std::time::Duration;

use holdfast_barrier::StoreError;
use holdfast_storage::{Op, Storage, Txn};

use crate::support::{Fault, Faulty, create, open, put, read, until};

#[tokio::test]
async fn a_lost_answer_does_not_lose_or_double_the_write() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(&[Fault::LoseAnswer]);
    let revision = create(&barrier, "a", "1").await.unwrap();
    let mut entry = holdfast_barrier::Store::get(&*barrier, "a").await.unwrap().unwrap();
    assert_eq!(entry.revision, revision);
    entry.value.clear();
    // A check that does not hold is still told when the answer is lost.
    storage.plan(&[Fault::LoseAnswer]);
    assert!(matches!(create(&barrier, "a", "2").await, Err(StoreError::Conflict)));
    assert_eq!((read(&barrier, "a").await.unwrap().as_str(), storage.left()), ("1", 0));
}

#[tokio::test]
async fn a_lost_request_is_sent_again() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(&[Fault::LoseRequest, Fault::LoseRequest]);
    create(&barrier, "a", "1").await.unwrap();
    assert_eq!((read(&barrier, "a").await.unwrap().as_str(), storage.left()), ("1", 0));
}

/// As by a member of etcd that had handed it to a leader that died: what is sent later is answered.
#[tokio::test]
async fn a_request_that_vanishes_is_not_waited_for() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(&[Fault::Swallow]);
    let written = tokio::time::timeout(Duration::from_secs(4), create(&barrier, "a", "1"));
    written.await.expect("heartbeats overtake it").unwrap();
    assert_eq!((read(&barrier, "a").await.unwrap().as_str(), storage.left()), ("1", 0));
}

/// The batch is still under way when its outcome is asked for: reading the lane alone would call it lost.
#[tokio::test]
async fn a_batch_that_arrives_late_is_not_applied_any_more() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(&[Fault::Delay]);
    put(&barrier, "a", "1").await.unwrap();
    put(&barrier, "a", "2").await.unwrap();
    assert_eq!(storage.deliver().await, 1);
    assert_eq!(read(&barrier, "a").await.unwrap(), "2");
    assert!(barrier.fsck().await.unwrap().is_clean());
}

/// What was told to have failed must not happen later either.
#[tokio::test]
async fn a_refused_batch_that_arrives_late_is_not_applied() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(&[Fault::NoSpaceDelayed]);
    assert!(matches!(put(&barrier, "a", "1").await, Err(StoreError::NoSpace)));
    assert_eq!((storage.deliver().await, values(&storage)), (1, 0));
    assert_eq!(read(&barrier, "a").await, None);
}

/// Values in the store, which memory may not show yet.
fn values(storage: &Faulty) -> usize {
    storage.inner.dump().iter().filter(|item| item.key.starts_with(b"data/")).count()
}

/// A full store takes no overwrite, so the lane's record was deleted to end a batch. The next batch makes it again first: one that
/// compared its absence could still be applied after a second such deletion, which changes nothing.
#[tokio::test]
async fn a_refused_batch_on_a_lane_that_was_deleted_is_not_applied_late() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.fill(true);
    // All but the one that deletes compare.
    while storage.inner.dump().iter().filter(|item| item.key.starts_with(b"lane/")).count() > 1 {
        assert!(matches!(put(&barrier, "a", "0").await, Err(StoreError::NoSpace)));
    }
    storage.fill(false);
    storage.plan(&[Fault::FillsUp]);
    assert!(matches!(put(&barrier, "a", "1").await, Err(StoreError::NoSpace)));
    assert_eq!((storage.deliver().await, values(&storage)), (1, 0));
    assert_eq!(read(&barrier, "a").await, None);
    storage.fill(false);
    put(&barrier, "a", "2").await.unwrap();
    assert_eq!((read(&barrier, "a").await.unwrap(), barrier.integrity_violations()), ("2".to_owned(), 0));
}

/// The watch is behind for longer than a heartbeat takes to come, whose answer names the revision that is missing.
#[tokio::test]
async fn a_heartbeat_does_not_stand_for_what_the_watch_has_not_told() {
    let storage = Faulty::lagging(Duration::from_millis(900));
    let barrier = open(Arc::new(storage.clone()), "one").await;
    for number in 0..3 {
        put(&barrier, "a", &number.to_string()).await.unwrap();
        assert_eq!(read(&barrier, "a").await.unwrap(), number.to_string());
    }
}

#[tokio::test]
async fn a_watch_that_lags_does_not_hide_own_writes() {
    let storage = Faulty::lagging(Duration::from_millis(15));
    let barrier = open(Arc::new(storage.clone()), "one").await;
    for number in 0..20 {
        put(&barrier, "a", &number.to_string()).await.unwrap();
        assert_eq!(read(&barrier, "a").await.unwrap(), number.to_string());
    }
}

#[tokio::test]
async fn a_request_that_looks_anew_sees_what_others_did_since_it_began() {
    let storage = Faulty::lagging(Duration::from_millis(300));
    let barrier = open(Arc::new(storage.clone()), "one").await;
    put(&barrier, "a", "1").await.unwrap();
    holdfast_barrier::one_request(async {
        assert_eq!(read(&barrier, "a").await.unwrap(), "1");
        let other = barrier.clone();
        tokio::spawn(async move { put(&other, "a", "2").await }).await.unwrap().unwrap();
        holdfast_barrier::look_anew();
        assert_eq!(read(&barrier, "a").await.unwrap(), "2");
    })
    .await;
}

#[tokio::test]
async fn one_bad_transaction_does_not_fail_the_others_of_its_batch() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    // Whatever travels together first is refused and sent one by one.
    storage.plan(&[Fault::TooLarge, Fault::TooLarge]);
    let writes = (0..20).map(|number| {
        let barrier = barrier.clone();
        tokio::spawn(async move { put(&barrier, &format!("k{number}"), "v").await })
    });
    let mut refused = 0;
    for write in writes.collect::<Vec<_>>() {
        match write.await.unwrap() {
            Ok(_) => {}
            Err(StoreError::TooLarge { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // A refused batch of one is a refused write; of many, none.
    assert!(refused <= 2, "{refused}");
    assert_eq!(storage.left(), 0);
}

#[tokio::test]
async fn a_full_store_is_told_and_comes_back() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    storage.plan(&[Fault::NoSpace]);
    assert!(matches!(put(&barrier, "a", "1").await, Err(StoreError::NoSpace)));
    assert_eq!(read(&barrier, "a").await, None);
    put(&barrier, "a", "2").await.unwrap();
    assert_eq!(read(&barrier, "a").await.unwrap(), "2");
}

#[tokio::test]
async fn a_store_that_is_away_for_a_moment_loses_nothing() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    put(&barrier, "a", "1").await.unwrap();
    storage.cut_off(true);
    let write = tokio::spawn({
        let barrier = barrier.clone();
        async move { create(&barrier, "b", "1").await }
    });
    storage.refused(10).await;
    assert!(!write.is_finished(), "an unknown outcome is not answered");
    storage.cut_off(false);
    write.await.unwrap().unwrap();
    assert_eq!(read(&barrier, "b").await.unwrap(), "1");
}

/// A store put back to an older state is noticed; what is read afterwards is what is there.
#[tokio::test]
async fn a_lane_that_is_deleted_by_hand_is_made_again() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    let lanes: Vec<_> = storage.inner.dump().into_iter().filter(|item| item.key.starts_with(b"lane/")).collect();
    assert_eq!(lanes.len(), 3);
    let then = lanes.into_iter().map(|item| Op::delete(item.key)).collect();
    storage.inner.txn(Txn { then, ..Txn::default() }).await.unwrap();
    for number in 0..6 {
        put(&barrier, "a", &number.to_string()).await.unwrap();
    }
    assert_eq!(read(&barrier, "a").await.unwrap(), "5");
}

#[tokio::test]
async fn a_member_that_is_deleted_by_hand_joins_again() {
    let storage = Faulty::new();
    let barrier = open(Arc::new(storage.clone()), "one").await;
    let members: Vec<_> = storage.inner.dump().into_iter().filter(|item| item.key.starts_with(b"member/")).collect();
    let then = members.iter().map(|item| Op::delete(item.key.clone())).collect();
    storage.inner.txn(Txn { then, ..Txn::default() }).await.unwrap();
    put(&barrier, "a", "1").await.unwrap();
    assert_eq!(read(&barrier, "a").await.unwrap(), "1");
    until("nothing is left of the old one", || async { barrier.fsck().await.unwrap().is_clean() }).await;
    until("it is a member again", || async {
        storage.inner.dump().iter().any(|item| item.key.starts_with(b"member/") && item.key != members[0].key)
    })
    .await;
}
