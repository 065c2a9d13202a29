//! Two replicas, predecessors, leaving.

use std::sync::Arc;

use holdfast_barrier::{Barrier, Options, Pulse};
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_secret::SecretBytes;
use holdfast_storage::{MemoryStorage, Storage};

use crate::support::{Faulty, create, open, put, read, root, until};

fn members(storage: &MemoryStorage) -> usize {
    storage.dump().iter().filter(|item| item.key.starts_with(b"member/")).count()
}

fn lanes(storage: &MemoryStorage) -> usize {
    storage.dump().iter().filter(|item| item.key.starts_with(b"lane/")).count()
}

async fn wait_until_cached(storage: &MemoryStorage) {
    until("it reads from memory", || async {
        storage
            .dump()
            .iter()
            .any(|item| item.key.starts_with(b"member/") && item.value.windows(8).any(|window| window == b"\"cached\""))
    })
    .await;
}

#[tokio::test]
async fn two_replicas_see_each_others_writes_at_once() {
    let storage = MemoryStorage::new();
    let one = open(Arc::new(storage.clone()), "one").await;
    put(&one, "a", "0").await.unwrap();
    wait_until_cached(&storage).await;
    let two = open(Arc::new(storage.clone()), "two").await;
    for number in 0..50 {
        let (writer, reader) = if number % 2 == 0 { (&one, &two) } else { (&two, &one) };
        put(writer, "a", &number.to_string()).await.unwrap();
        assert_eq!(read(reader, "a").await.unwrap(), number.to_string());
    }
    assert_eq!(members(&storage), 2);
    two.seal().await;
    wait_until_cached(&storage).await;
    put(&one, "a", "end").await.unwrap();
    assert_eq!(read(&one, "a").await.unwrap(), "end");
}

#[tokio::test]
async fn of_two_that_create_the_same_one_succeeds() {
    let storage = MemoryStorage::new();
    let one = open(Arc::new(storage.clone()), "one").await;
    let two = open(Arc::new(storage.clone()), "two").await;
    for number in 0..20 {
        let path = format!("k{number}");
        let (a, b) = tokio::join!(create(&one, &path, "1"), create(&two, &path, "2"));
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        let winner = if a.is_ok() { "1" } else { "2" };
        assert_eq!(read(&one, &path).await.unwrap(), winner);
        assert_eq!(read(&two, &path).await.unwrap(), winner);
    }
}

#[tokio::test]
async fn a_clean_leave_leaves_nothing() {
    let storage = MemoryStorage::new();
    let one = open(Arc::new(storage.clone()), "one").await;
    assert_eq!((members(&storage), lanes(&storage)), (1, 3));
    one.seal().await;
    assert_eq!((members(&storage), lanes(&storage)), (0, 0));
}

/// As after kill -9: the predecessor's record is there, and is removed without a wait.
#[tokio::test]
async fn a_dead_predecessor_does_not_delay_the_next() {
    let storage = MemoryStorage::new();
    let one = open(Arc::new(storage.clone()), "one").await;
    put(&one, "a", "1").await.unwrap();
    wait_until_cached(&storage).await;
    drop(one);
    let start = std::time::Instant::now();
    let next = open(Arc::new(storage.clone()), "one").await;
    assert_eq!(read(&next, "a").await.unwrap(), "1");
    put(&next, "a", "2").await.unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((members(&storage), lanes(&storage)), (1, 3));
}

/// One that was taken for dead and was not: it cannot write under its old id, and goes on under a new one.
#[tokio::test]
async fn one_that_was_taken_for_dead_goes_on_under_a_new_id() {
    let storage = MemoryStorage::new();
    let one = open(Arc::new(storage.clone()), "same").await;
    put(&one, "a", "1").await.unwrap();
    let two = open(Arc::new(storage.clone()), "same").await;
    put(&two, "a", "2").await.unwrap();
    assert_eq!(read(&one, "a").await.unwrap(), "2");
    put(&one, "a", "3").await.unwrap();
    assert_eq!(read(&two, "a").await.unwrap(), "3");
    assert_eq!(members(&storage), 2);
}

/// Cut off from the store while it may read from memory, evicted by another, back: nothing it writes is under its old id.
#[tokio::test]
async fn an_evicted_replica_writes_only_under_a_new_id() {
    let store = Faulty::new();
    let storage = store.inner.clone();
    let one = open(Arc::new(store.clone()), "one").await;
    put(&one, "a", "1").await.unwrap();
    wait_until_cached(&storage).await;
    let old = storage.dump().into_iter().find(|item| item.key.starts_with(b"member/")).unwrap().key;
    store.cut_off(true);
    let two = open(Arc::new(storage.clone()), "two").await;
    until("one is evicted", || async {
        storage
            .get(&old)
            .await
            .unwrap()
            .0
            .is_none_or(|item| item.value.windows(9).any(|window| window == b"\"evicted\""))
    })
    .await;
    store.cut_off(false);
    put(&one, "b", "2").await.unwrap();
    assert_eq!(read(&two, "b").await.unwrap(), "2");
    let values = storage.dump().into_iter().filter(|item| item.key.starts_with(b"data/"));
    let newest = values.max_by_key(|item| item.mod_revision).unwrap();
    let author: String = newest.value[1..17].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_ne!(old, format!("member/{author}"));
    assert_eq!(two.integrity_violations(), 0);
}

/// Its batch was applied, the answer lost; before it could ask, it was evicted and all of its records were removed.
#[tokio::test]
async fn a_batch_whose_lane_is_gone_is_told_as_it_went() {
    let store = Faulty::new();
    let storage = store.inner.clone();
    let one = open(Arc::new(store.clone()), "one").await;
    put(&one, "a", "1").await.unwrap();
    wait_until_cached(&storage).await;
    store.cut_after(b"lane/");
    let write = tokio::spawn({
        let one = one.clone();
        async move { create(&one, "b", "1").await }
    });
    let two = open(Arc::new(storage.clone()), "two").await;
    until("the records of the first are gone", || async { (members(&storage), lanes(&storage)) == (1, 3) }).await;
    assert_eq!(read(&two, "b").await.unwrap(), "1");
    assert!(!write.is_finished());
    store.cut_off(false);
    let written = write.await.unwrap().unwrap();
    assert_eq!(holdfast_barrier::Store::get(&*two, "b").await.unwrap().unwrap().revision, written);
}

async fn pulse_of(storage: Arc<dyn Storage>) -> Pulse {
    Pulse::start(async { Ok::<_, std::io::Error>(storage) }).await.unwrap()
}

/// Work that does not yield holds up everything else for longer than a heartbeat entitles to, not the heartbeat.
#[tokio::test]
async fn a_process_that_is_busy_goes_on_reading_from_memory() {
    let storage = Arc::new(MemoryStorage::new());
    let options = Options { pulse: Some(pulse_of(storage.clone()).await), ..Options::default() };
    let barrier = Barrier::open_with(storage, Arc::new(SystemClock), Arc::new(SystemEntropy), options);
    barrier.initialize(&root()).await.unwrap();
    barrier.unseal(root()).await.unwrap();
    until("it reads from memory", || async { barrier.status().is_some_and(|status| status.reads_memory) }).await;
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(5) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(barrier.status().unwrap().reads_memory, "{:?}", start.elapsed());
    }
    assert_eq!(barrier.status().unwrap().demotions, 0);
}

/// One that was evicted and does not know it, as its heartbeats go nowhere; its id; the one that evicted it.
async fn evicted() -> (Arc<Barrier>, String, Arc<Barrier>) {
    let (store, pulse) = (Faulty::new(), Faulty::new());
    pulse.cut_off(true);
    let pulse = Some(pulse_of(Arc::new(pulse)).await);
    let options = Options { instance: "one".to_owned(), pulse, ..Options::default() };
    let clock = Arc::new(SystemClock);
    let one = Barrier::open_with(Arc::new(store.clone()), clock, Arc::new(SystemEntropy), options);
    one.initialize(&root()).await.unwrap();
    one.unseal(root()).await.unwrap();
    let old = one.status().unwrap().id;
    wait_until_cached(&store.inner).await;
    store.cut_off(true);
    let two = open(Arc::new(store.inner.clone()), "two").await;
    until("it is evicted", || async { two.status().unwrap().evictions == 1 }).await;
    store.cut_off(false);
    assert_eq!(one.status().unwrap().id, old);
    (one, old, two)
}

#[tokio::test]
async fn an_evicted_replica_rotates_only_under_a_new_id() {
    let (one, old, two) = evicted().await;
    assert_eq!(one.rotate().await.unwrap(), 2);
    let status = one.status().unwrap();
    assert!(status.id != old && status.rejoins == 1, "{status:?}");
    put(&two, "a", "1").await.unwrap();
    assert_eq!((read(&one, "a").await.unwrap().as_str(), two.key_status().unwrap().term), ("1", 2));
}

#[tokio::test]
async fn an_evicted_replica_rekeys_only_under_a_new_id() {
    let (one, old, two) = evicted().await;
    let new = SecretBytes::new([9; 32]);
    one.rekey(&new, Vec::new()).await.unwrap();
    let status = one.status().unwrap();
    assert!(status.id != old && status.rejoins == 1, "{status:?}");
    put(&two, "a", "1").await.unwrap();
    assert!(two.is_root_key(&new).unwrap());
}

#[tokio::test]
async fn an_evicted_replica_forgets_a_root_key_only_under_a_new_id() {
    let (one, old, two) = evicted().await;
    two.rekey(&SecretBytes::new([9; 32]), Vec::new()).await.unwrap();
    one.forget_predecessor().await.unwrap();
    let status = one.status().unwrap();
    assert!(status.id != old && status.rejoins == 1, "{status:?}");
}

#[tokio::test]
async fn an_evicted_replica_orders_to_seal_only_under_a_new_id() {
    let (one, old, two) = evicted().await;
    one.order_seal(b"x".to_vec()).await.unwrap();
    let status = one.status().unwrap();
    assert!(status.id != old && status.rejoins == 1, "{status:?}");
    assert!(put(&two, "a", "1").await.is_err());
}

/// Dead in state cached, under another name: nobody answers until it is evicted and its time is over.
#[tokio::test]
async fn a_silent_replica_of_another_name_is_waited_for() {
    let storage = MemoryStorage::new();
    let one = open(Arc::new(storage.clone()), "one").await;
    put(&one, "a", "1").await.unwrap();
    wait_until_cached(&storage).await;
    drop(one);
    let start = std::time::Instant::now();
    let two = open(Arc::new(storage.clone()), "two").await;
    assert_eq!(read(&two, "a").await.unwrap(), "1");
    assert!(start.elapsed() > std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    until("only one is left", || async { members(&storage) == 1 }).await;
    wait_until_cached(&storage).await;
    assert!(storage.get(b"gen").await.unwrap().0.is_some());
}
