//! What single rules of the protocol are for: with the rule switched off, one of these fails (`mutants`).

use std::sync::Arc;
use std::time::Duration;

use holdfast_barrier::{Barrier, Check, Options, Store, StoreError, Txn};
use holdfast_base::SystemClock;
use holdfast_storage::{MemoryStorage, Storage};

use crate::hub::{Drifting, Hub, Three, delete_member, evictions, open_on, open_with, three, until_all_cached};
use crate::support::{Faulty, bytes, open, put, read, until};

/// A race is run so often; who breaks the rule loses it once at least, who keeps it never.
const ROUNDS: usize = 10;
/// How late the slow one shows what is new: not so late that others have it demoted.
const LAG: Duration = Duration::from_millis(100);
/// Who does not answer within this tells nothing old.
const SILENCE: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(12);
const FOREVER: Duration = Duration::from_secs(3600);

/// Somebody shows what is being written; from then on the slow one must, or ask.
async fn race(writer: &Arc<Barrier>, first: &Barrier, slow: &Barrier, value: &str) {
    let write = tokio::spawn({
        let (writer, value) = (writer.clone(), value.to_owned());
        async move { put(&writer, "k", &value).await }
    });
    until("it is shown", || async { read(first, "k").await.as_deref() == Some(value) }).await;
    assert_eq!(read(slow, "k").await.as_deref(), Some(value));
    write.await.unwrap().unwrap();
}

/// The slow one gives up its memory when it is behind for too long without a pause, and is asked to on a busy machine. That
/// loses no race, so it gets a pause, and if need be the time to recover.
async fn rest(barriers: &[&Arc<Barrier>]) {
    tokio::time::sleep(LAG).await;
    let _ = tokio::time::timeout(RECOVERY, until_all_cached(barriers)).await;
}

async fn tells_nothing_old(barrier: &Barrier, path: &str, old: &str) {
    if let Ok(Ok(Some(entry))) = tokio::time::timeout(SILENCE, barrier.get(path)).await {
        assert_ne!(entry.value, bytes(old), "it shows what others know to be over");
    }
}

/// Not writes alone wait for all who read from memory: what a read has shown no later one may hide.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_shows_from_memory_the_others_show() {
    let Three { a, b, c, at_b, .. } = three().await;
    at_b.lag(LAG);
    for number in 0..ROUNDS {
        rest(&[&a, &b, &c]).await;
        race(&a, &c, &b, &number.to_string()).await;
    }
}

/// Nor does it help to have asked the store: others read from memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_has_from_the_store_the_others_show() {
    let (hub, at_b) = (Arc::new(Hub::default()), Faulty::new());
    let a = open_on(&hub, Arc::new(at_b.inner.clone()), "a").await;
    let b = open_on(&hub, Arc::new(at_b.clone()), "b").await;
    let options = Options { always_ask: true, ..Options::default() };
    let asks = open_with(&hub, Arc::new(at_b.inner.clone()), "c", Arc::new(SystemClock), options).await;
    until_all_cached(&[&a, &b]).await;
    at_b.lag(LAG);
    for number in 0..ROUNDS {
        rest(&[&a, &b]).await;
        race(&a, &asks, &b, &number.to_string()).await;
    }
    assert!(!asks.status().unwrap().reads_memory);
}

/// What is missing in memory is read as of what memory shows, not as of now: an absence that is newer would be told before the
/// others show it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_into_memory_is_as_old_as_memory() {
    let Three { storage, a, b, c, at_b, at_c, .. } = three().await;
    let paths: Vec<String> = (0..ROUNDS).map(|number| format!("k{number}")).collect();
    for path in &paths {
        put(&a, path, "1").await.unwrap();
        assert_eq!(read(&b, path).await.unwrap(), "1");
    }
    at_b.lag(LAG);
    at_c.lag(LAG);
    for path in paths {
        rest(&[&a, &b, &c]).await;
        let (_, before) = storage.get(b"gen").await.unwrap();
        let write = tokio::spawn({
            let (a, path) = (a.clone(), path.clone());
            async move {
                let mut txn = Txn::new();
                txn.delete(path);
                a.commit(txn).await
            }
        });
        until("it is deleted", || async { storage.get(b"gen").await.unwrap().1 > before }).await;
        if read(&c, &path).await.is_none() {
            assert_eq!(read(&b, &path).await, None);
        }
        write.await.unwrap().unwrap();
    }
}

/// It changes between the store's answer and its arrival.
#[tokio::test]
async fn what_changes_while_it_is_read_is_not_kept() {
    let store = Faulty::new();
    let barrier = open(Arc::new(store.clone()), "one").await;
    put(&barrier, "k", "1").await.unwrap();
    until_all_cached(&[&barrier]).await;
    store.hold_answers(true);
    let early = tokio::spawn({
        let barrier = barrier.clone();
        async move { read(&barrier, "k").await }
    });
    store.holds_one().await;
    let revision = put(&barrier, "k", "2").await.unwrap();
    until("memory shows it", || async { barrier.status().unwrap().applied >= revision }).await;
    store.hold_answers(false);
    early.await.unwrap().unwrap();
    assert_eq!(read(&barrier, "k").await.unwrap(), "2");
}

/// Each may happen only if the other has not. All compares of a batch see the state before it, so they must not travel together.
#[tokio::test]
async fn of_two_that_exclude_each_other_one_happens() {
    let barrier = open(Arc::new(Faulty::new()), "one").await;
    let unless = |other: &str, path: &str| {
        let mut txn = Txn::new();
        txn.check(other.to_owned(), Check::Absent).put(path.to_owned(), bytes("1"));
        txn
    };
    let (x, y) = tokio::join!(barrier.commit(unless("y", "x")), barrier.commit(unless("x", "y")));
    assert!(x.is_ok() != y.is_ok(), "{x:?} {y:?}");
    assert!(matches!(x.and(y), Err(StoreError::Conflict)));
}

/// Who has given up its memory under one record reads from it again under the next.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_recovered_from_being_slow_is_waited_for_again() {
    let Three { a, b, c, at_b, .. } = three().await;
    put(&a, "k", "1").await.unwrap();
    assert_eq!(read(&b, "k").await.unwrap(), "1");
    // Its record stays as it is meanwhile, so it is by its word that nobody waits for it.
    at_b.lag(LAG * 7);
    at_b.cut_off(true);
    put(&a, "k", "2").await.unwrap();
    assert_eq!((b.status().unwrap().demotions, evictions(&[&a, &c])), (1, 0));
    at_b.cut_off(false);
    at_b.lag(Duration::ZERO);
    until_all_cached(&[&a, &b, &c]).await;
    at_b.lag(LAG);
    for number in 0..ROUNDS {
        rest(&[&a, &b, &c]).await;
        put(&a, "k", &number.to_string()).await.unwrap();
        assert_eq!(read(&b, "k").await.unwrap(), number.to_string());
    }
}

/// The one that joins has never met the evicted one, which goes on reading from its memory, cut off from everybody.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_after_an_eviction_waits_as_well() {
    let (hub, storage) = (Arc::new(Hub::default()), MemoryStorage::new());
    let at_dead = Faulty::over(storage.clone());
    let a = open_on(&hub, Arc::new(storage.clone()), "a").await;
    put(&a, "k", "1").await.unwrap();
    let dead = open_on(&hub, Arc::new(at_dead.clone()), "dead").await;
    until_all_cached(&[&a, &dead]).await;
    assert_eq!(read(&dead, "k").await.unwrap(), "1");
    at_dead.lag(FOREVER);
    at_dead.cut_off(true);
    hub.cut("dead", "a");
    hub.cut("dead", "late");
    until("it is evicted", || async { evictions(&[&a]) == 1 }).await;
    let late = open_on(&hub, Arc::new(storage), "late").await;
    put(&late, "k", "2").await.unwrap();
    tells_nothing_old(&dead, "k", "1").await;
}

/// The one that is cut off has a clock that is slow by a tenth, the one that waits for it one that is as fast: the most that the
/// constants allow for. The record goes right after a heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_waits_longer_than_any_clock_entitles_to() {
    let (hub, storage) = (Arc::new(Hub::default()), MemoryStorage::new());
    let at_slow = Faulty::over(storage.clone());
    let (fast, slow) = (Arc::new(Drifting::new(11)), Arc::new(Drifting::new(9)));
    let a = open_with(&hub, Arc::new(storage.clone()), "a", fast, Options::default()).await;
    put(&a, "k", "1").await.unwrap();
    let slow = open_with(&hub, Arc::new(at_slow.clone()), "slow", slow, Options::default()).await;
    until_all_cached(&[&a, &slow]).await;
    assert_eq!(read(&slow, "k").await.unwrap(), "1");
    at_slow.lag(FOREVER);
    at_slow.next_answer().await;
    at_slow.cut_off(true);
    hub.cut("a", "slow");
    delete_member(&storage, &slow.status().unwrap().id).await;
    put(&a, "k", "2").await.unwrap();
    tells_nothing_old(&slow, "k", "1").await;
}
