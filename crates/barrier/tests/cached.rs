//! Replicas that all read from memory: what one answers the others show, also when one of them dies, hangs or is cut off.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_barrier::{Mode, Options, Store, StoreError};
use holdfast_storage::{Error, MemoryStorage, Op, Range, Storage, Txn};

use crate::hub::{Hub, Jumping, Three, delete_member, evictions, open_on, open_with, three, until_all_cached};
use crate::support::{Faulty, create, open, put, read, until};

/// A wait that nothing but an eviction can explain; far longer than what a busy machine does to a round trip.
const STALL: Duration = Duration::from_secs(2);
/// The longest stall by a dead replica is 4.4 s; the rest is for slow machines.
const LONGEST_STALL: Duration = Duration::from_secs(12);

/// Members and lanes in the store.
fn records(storage: &MemoryStorage) -> (usize, usize) {
    let records = storage.dump();
    let count = |prefix: &[u8]| records.iter().filter(|item| item.key.starts_with(prefix)).count();
    (count(b"member/"), count(b"lane/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_all_show_at_once() {
    let Three { a, b, c, at_b, .. } = three().await;
    for number in 0..60 {
        let value = number.to_string();
        let (writer, readers) = match number % 3 {
            0 => (&a, [&b, &c]),
            1 => (&b, [&c, &a]),
            _ => (&c, [&a, &b]),
        };
        put(writer, "k", &value).await.unwrap();
        for reader in readers {
            assert_eq!(read(reader, "k").await.unwrap(), value);
        }
    }
    assert_eq!(evictions(&[&a, &b, &c]), 0);
    // Nobody asks the store: what was read before is read without it, as long as the word of the store holds.
    read(&b, "old").await.unwrap();
    at_b.cut_off(true);
    let before = Instant::now();
    let value = tokio::time::timeout(STALL, read(&b, "old")).await;
    assert!(
        before.elapsed() > STALL || matches!(value.as_ref().map(Option::as_deref), Ok(Some("1"))),
        "it asked the store"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_creates_or_deletes_all_list_at_once() {
    let Three { a, b, c, at_b, .. } = three().await;
    let mut there = BTreeSet::new();
    for number in 0..30 {
        let (name, writer) = (format!("n{}", number % 7), [&a, &b, &c][number % 3]);
        let path = format!("f/g/{name}");
        if there.remove(&name) {
            let mut txn = holdfast_barrier::Txn::new();
            txn.delete(path);
            writer.commit(txn).await.unwrap();
        } else {
            put(writer, &path, "v").await.unwrap();
            there.insert(name);
        }
        for reader in [&a, &b, &c] {
            assert_eq!(BTreeSet::from_iter(reader.list("f/g/", "", 0).await.unwrap()), there);
            assert_eq!(reader.list("f/", "", 0).await.unwrap().len(), usize::from(!there.is_empty()));
        }
    }
    let listed = b.status().unwrap().figures.list;
    at_b.cut_off(true);
    let before = Instant::now();
    let names = tokio::time::timeout(STALL, b.list("f/g/", "", 0)).await;
    assert!(
        before.elapsed() > STALL || matches!(names, Ok(Ok(names)) if names.len() == there.len()),
        "it asked the store"
    );
    assert_eq!(b.status().unwrap().figures.list.took, listed.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_create_the_same_one_succeeds() {
    let Three { a, b, c, .. } = three().await;
    for number in 0..20 {
        let path = format!("k{number}");
        let (one, two, three) = tokio::join!(create(&a, &path, "a"), create(&b, &path, "b"), create(&c, &path, "c"));
        let winners: Vec<_> =
            [(one, "a"), (two, "b"), (three, "c")].into_iter().filter(|(outcome, _)| outcome.is_ok()).collect();
        assert_eq!(winners.len(), 1);
        for reader in [&a, &b, &c] {
            assert_eq!(read(reader, &path).await.unwrap(), winners[0].1);
        }
    }
}

/// As after kill -9: who writes waits until the dead one can answer nobody any more; who reads what was there does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_replica_delays_writes_for_its_time_and_reads_not_at_all() {
    let Three { hub, storage, a, b, c, .. } = three().await;
    hub.hang_up("b");
    drop(b);
    let start = Instant::now();
    let write = tokio::spawn({
        let a = a.clone();
        async move { put(&a, "new", "1").await }
    });
    let mut longest = Duration::ZERO;
    while !write.is_finished() {
        let before = Instant::now();
        assert_eq!(read(&a, "old").await.unwrap(), "1");
        assert_eq!(read(&c, "old").await.unwrap(), "1");
        longest = longest.max(before.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    write.await.unwrap().unwrap();
    assert!(start.elapsed() > Duration::from_secs(3), "it was not waited for: {:?}", start.elapsed());
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    assert!(longest < STALL, "reads stalled for {longest:?}");
    assert_eq!(evictions(&[&a, &c]), 1);
    until("its record is gone", || async {
        storage.dump().iter().filter(|item| item.key.starts_with(b"member/")).count() == 2
    })
    .await;
    let start = Instant::now();
    put(&c, "new", "2").await.unwrap();
    assert_eq!(read(&a, "new").await.unwrap(), "2");
    assert!(start.elapsed() < STALL, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_delays_nobody() {
    let Three { a, b, c, .. } = three().await;
    b.seal().await;
    let start = Instant::now();
    put(&a, "new", "1").await.unwrap();
    assert_eq!(read(&c, "new").await.unwrap(), "1");
    assert!(start.elapsed() < STALL, "{:?}", start.elapsed());
    assert_eq!(evictions(&[&a, &c]), 0);
}

/// Its watch tells everything late: it is asked to give up its cache, and nobody waits for it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_replica_gives_up_its_cache() {
    let Three { a, b, c, at_b, .. } = three().await;
    at_b.lag(Duration::from_millis(700));
    let start = Instant::now();
    put(&a, "k", "1").await.unwrap();
    assert!(start.elapsed() < STALL, "{:?}", start.elapsed());
    assert_eq!(read(&c, "k").await.unwrap(), "1");
    assert!(!b.status().unwrap().reads_memory);
    assert_eq!((b.status().unwrap().demotions, evictions(&[&a, &b, &c])), (1, 0));
    // It asks the store, and waits for its watch.
    assert_eq!(read(&b, "k").await.unwrap(), "1");
    at_b.lag(Duration::ZERO);
    until_all_cached(&[&a, &b, &c]).await;
}

/// It needs no watch for what memory shows: who writes waits for it. That it does not go on is no reason to wait for longer than
/// for one that is slow.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_its_watch_reads_on_until_others_write() {
    let Three { a, b, c, at_b, .. } = three().await;
    assert_eq!(read(&b, "old").await.unwrap(), "1");
    at_b.break_watches(true);
    until("its watch broke off", || async { !b.status().unwrap().watching }).await;
    assert!(b.status().unwrap().reads_memory);
    let unchanged = tokio::time::timeout(Duration::from_millis(500), read(&b, "old"));
    assert_eq!(unchanged.await.expect("memory has it").unwrap(), "1");
    let start = Instant::now();
    put(&a, "old", "2").await.unwrap();
    assert!(start.elapsed() < STALL, "{:?}", start.elapsed());
    assert!(!b.status().unwrap().reads_memory);
    at_b.break_watches(false);
    assert_eq!((read(&b, "old").await.unwrap(), read(&c, "old").await.unwrap()), ("2".to_owned(), "2".to_owned()));
    until_all_cached(&[&a, &b, &c]).await;
    assert_eq!(evictions(&[&a, &b, &c]), 0);
}

/// And not for longer than its last heartbeat before that entitles: whether the store is still the same it cannot know.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_its_watch_for_long_asks_the_store() {
    let Three { a, b, c, at_b, .. } = three().await;
    at_b.break_watches(true);
    until("the watch broke off", || async { !b.status().unwrap().watching }).await;
    let start = Instant::now();
    until("it reads from memory no more", || async { !b.status().unwrap().reads_memory }).await;
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    at_b.break_watches(false);
    until_all_cached(&[&a, &b, &c]).await;
}

/// Cut off from the store alone, it says so by others; its cache counts no more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_from_the_store_delays_nobody_who_can_talk_to_it() {
    let Three { a, b, c, at_b, .. } = three().await;
    at_b.cut_off(true);
    at_b.lag(Duration::from_secs(2));
    let start = Instant::now();
    put(&a, "k", "1").await.unwrap();
    assert!(start.elapsed() < STALL, "{:?}", start.elapsed());
    assert_eq!(read(&c, "k").await.unwrap(), "1");
    assert!(!b.status().unwrap().reads_memory);
    at_b.cut_off(false);
    at_b.lag(Duration::ZERO);
    assert_eq!(read(&b, "k").await.unwrap(), "1");
    until_all_cached(&[&a, &b, &c]).await;
    assert_eq!(evictions(&[&a, &b, &c]), 0);
}

/// Two do not reach each other; the third tells each what the other shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_third_vouches_for_two_that_are_cut_from_each_other() {
    let Three { hub, a, b, c, .. } = three().await;
    hub.cut("a", "b");
    for number in 0..10 {
        let value = number.to_string();
        put(&a, "k", &value).await.unwrap();
        assert_eq!((read(&b, "k").await.unwrap(), read(&c, "k").await.unwrap()), (value.clone(), value));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    put(&b, "k", "end").await.unwrap();
    assert_eq!(read(&a, "k").await.unwrap(), "end");
    assert_eq!(evictions(&[&a, &b, &c]), 0);
    hub.mend();
}

/// Cut off from all others but not from the store: one side is evicted, then both serve by asking the store.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_from_all_others_goes_on_by_asking_the_store() {
    let Three { hub, a, b, c, .. } = three().await;
    hub.cut("b", "a");
    hub.cut("b", "c");
    let start = Instant::now();
    put(&a, "k", "1").await.unwrap();
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    assert_eq!(read(&b, "k").await.unwrap(), "1");
    put(&b, "k", "2").await.unwrap();
    assert_eq!((read(&a, "k").await.unwrap(), read(&c, "k").await.unwrap()), ("2".to_owned(), "2".to_owned()));
    hub.mend();
    put(&c, "k", "3").await.unwrap();
    assert_eq!(read(&b, "k").await.unwrap(), "3");
    until_all_cached(&[&a, &b, &c]).await;
}

/// It lost its record to another, which it does not reach and which then lost the store; it may not evict that for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_one_that_it_cannot_hear_says_that_it_cannot_answer() {
    const WINDOW: Duration = Duration::from_secs(10);
    let (hub, storage, clock) = (Arc::new(Hub::default()), MemoryStorage::new(), Arc::new(Jumping::default()));
    let (at_a, at_b) = (Faulty::over(storage.clone()), Faulty::over(storage.clone()));
    let a = open_on(&hub, Arc::new(at_a.clone()), "a").await;
    let b = open_with(&hub, Arc::new(at_b.clone()), "b", clock.clone(), Options::default()).await;
    until_all_cached(&[&a, &b]).await;
    assert!(a.can_answer(WINDOW) && b.can_answer(WINDOW));
    at_b.cut_off(true);
    hub.cut("a", "b");
    until("b is evicted", || async { evictions(&[&a]) == 1 }).await;
    at_a.cut_off(true);
    at_b.cut_off(false);
    until("b goes on", || async { b.status().is_some_and(|status| status.rejoins == 1) && b.can_answer(WINDOW) }).await;
    clock.forward(WINDOW);
    tokio::time::timeout(STALL, put(&b, "k", "1")).await.expect_err("it waits for nobody");
    let confirmed = || b.status().is_some_and(|status| status.confirmed_ago.is_some_and(|ago| ago < WINDOW));
    assert!(confirmed() && !b.can_answer(WINDOW));
    clock.forward(Duration::from_secs(60));
    until("the other is out", || async { evictions(&[&b]) == 1 && b.can_answer(WINDOW) }).await;
    put(&b, "k", "2").await.unwrap();
}

/// Its record vanishes: it is counted on as long as it may still think to be entitled, then goes on under a new id.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_deleted_by_hand_is_survived() {
    let Three { storage, a, b, c, .. } = three().await;
    let old = b.status().unwrap().id;
    delete_member(&storage, &old).await;
    let start = Instant::now();
    put(&a, "k", "1").await.unwrap();
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    assert_eq!((read(&b, "k").await.unwrap(), read(&c, "k").await.unwrap()), ("1".to_owned(), "1".to_owned()));
    until("it goes on under a new id", || async {
        b.status().is_some_and(|status| status.id != old && status.rejoins == 1)
    })
    .await;
    until("nothing is left of the old one", || async { records(&storage) == (3, 9) }).await;
    put(&b, "k", "2").await.unwrap();
    assert_eq!((read(&a, "k").await.unwrap(), read(&c, "k").await.unwrap()), ("2".to_owned(), "2".to_owned()));
    until_all_cached(&[&a, &b, &c]).await;
}

/// Its record is deleted by hand while it is cut off, so it reads from memory still; who joins then has not seen that it was there.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_waits_for_one_whose_record_was_deleted_by_hand() {
    let Three { hub, storage, a, b, c, at_b, .. } = three().await;
    put(&a, "k", "1").await.unwrap();
    assert_eq!(read(&b, "k").await.unwrap(), "1");
    at_b.lag(LONGEST_STALL);
    at_b.cut_off(true);
    hub.cut("b", "a");
    hub.cut("b", "c");
    hub.cut("b", "d");
    delete_member(&storage, &b.status().unwrap().id).await;
    let d = open_on(&hub, Arc::new(storage.clone()), "d").await;
    put(&d, "k", "2").await.unwrap();
    assert!(!b.status().unwrap().reads_memory, "it still answers what was before");
    assert_eq!((read(&a, "k").await.unwrap(), read(&c, "k").await.unwrap()), ("2".to_owned(), "2".to_owned()));
    until("nothing is left of it", || async { records(&storage) == (3, 9) }).await;
}

/// The same with a tombstone, and others who tell what they once heard of the evicted one.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_waits_for_one_that_others_have_evicted() {
    let Three { hub, storage, a, b, c, at_b, .. } = three().await;
    put(&a, "k", "1").await.unwrap();
    assert_eq!(read(&b, "k").await.unwrap(), "1");
    at_b.lag(LONGEST_STALL);
    at_b.cut_off(true);
    hub.cut("b", "a");
    hub.cut("b", "c");
    hub.cut("b", "d");
    until("it is evicted", || async { evictions(&[&a, &c]) == 1 }).await;
    let d = open_on(&hub, Arc::new(storage.clone()), "d").await;
    put(&d, "k", "2").await.unwrap();
    assert!(!b.status().unwrap().reads_memory, "it still answers what was before");
}

/// Others see that it asks the store before it knows that its record says so.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_it_asks_the_store_does_so_before_others_can_know() {
    let Three { storage, b, at_b, .. } = three().await;
    let record = format!("member/{}", b.status().unwrap().id);
    at_b.cut_after(b"member/");
    let mute = open(Arc::new(storage.clone()), "mute").await;
    until("its record says that it asks the store", || async {
        let (found, _) = storage.get(record.as_bytes()).await.unwrap();
        found.unwrap().value.windows(9).any(|window| window == b"\"barrier\"")
    })
    .await;
    assert!(!b.status().unwrap().reads_memory);
    mute.seal().await;
}

/// A record comes back under which nobody goes on, although somebody is where it says: nobody waits for it longer than for one
/// that is dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_put_back_is_evicted() {
    let Three { storage, a, b, c, .. } = three().await;
    let id = b.status().unwrap().id;
    let old = storage.get(format!("member/{id}").as_bytes()).await.unwrap().0.unwrap();
    delete_member(&storage, &id).await;
    until("it goes on under a new id", || async { b.status().is_some_and(|status| status.id != id) }).await;
    until_all_cached(&[&a, &b, &c]).await;
    storage.txn(Txn { then: vec![Op::put(old.key, old.value)], ..Txn::default() }).await.unwrap();
    let start = Instant::now();
    put(&a, "k", "1").await.unwrap();
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    assert_eq!((read(&b, "k").await.unwrap(), read(&c, "k").await.unwrap()), ("1".to_owned(), "1".to_owned()));
    until_all_cached(&[&a, &b, &c]).await;
}

/// A replica that cannot talk to others joins: all ask the store from then on.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_talk_makes_all_ask_the_store() {
    let Three { storage, a, b, c, .. } = three().await;
    let mute = open(Arc::new(storage.clone()), "mute").await;
    for number in 0..10 {
        let value = number.to_string();
        let (writer, reader) = if number % 2 == 0 { (&a, &mute) } else { (&mute, &c) };
        put(writer, "k", &value).await.unwrap();
        assert_eq!(read(reader, "k").await.unwrap(), value);
    }
    until("nobody reads from memory", || async {
        [&a, &b, &c, &mute].iter().all(|barrier| barrier.status().is_some_and(|status| status.mode == Mode::Barrier))
    })
    .await;
    mute.seal().await;
    until_all_cached(&[&a, &b, &c]).await;
}

/// Somebody joins when the only other one is dead: it evicts it and waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_waits_for_a_dead_one_that_it_never_met() {
    let (hub, storage) = (Arc::new(Hub::default()), MemoryStorage::new());
    let a = open_on(&hub, Arc::new(storage.clone()), "a").await;
    put(&a, "k", "1").await.unwrap();
    until_all_cached(&[&a]).await;
    hub.hang_up("a");
    drop(a);
    let start = Instant::now();
    let b = open_on(&hub, Arc::new(storage.clone()), "b").await;
    put(&b, "k", "2").await.unwrap();
    assert!(start.elapsed() > Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(start.elapsed() < LONGEST_STALL, "{:?}", start.elapsed());
    until_all_cached(&[&b]).await;
}

/// What somebody puts back into the store is refused everywhere within a moment, also where it would be read from memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_by_somebody_else_is_refused_by_all() {
    let Three { storage, a, b, c, .. } = three().await;
    put(&a, "token", "valid").await.unwrap();
    let newest = |storage: &MemoryStorage| {
        let values = storage.dump().into_iter().filter(|item| item.key.starts_with(b"data/"));
        values.max_by_key(|item| item.mod_revision).unwrap()
    };
    let old = newest(&storage);
    put(&b, "token", "revoked").await.unwrap();
    let page = storage.range(Range::key(old.key.clone())).await.map_err(|error: Error| error.to_string()).unwrap();
    assert_ne!(page.items[0].value, old.value);
    storage.txn(Txn { then: vec![Op::put(old.key, old.value)], ..Txn::default() }).await.unwrap();
    for barrier in [&a, &b, &c] {
        until("it is refused", || async {
            matches!(holdfast_barrier::Store::get(&**barrier, "token").await, Err(StoreError::Corrupt { .. }))
        })
        .await;
    }
}

/// Within a request nothing waits but its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_at_its_end_only() {
    let Three { hub, a, b, .. } = three().await;
    hub.hang_up("b");
    drop(b);
    holdfast_barrier::one_request(async {
        let start = Instant::now();
        put(&a, "k", "1").await.unwrap();
        assert_eq!(read(&a, "k").await.unwrap(), "1");
        assert_eq!(read(&a, "missing").await, None);
        let before = start.elapsed();
        holdfast_barrier::release(1).await.unwrap();
        assert!(before < STALL && start.elapsed() > Duration::from_secs(3), "{before:?} {:?}", start.elapsed());
    })
    .await;
    let status = a.status().unwrap();
    assert_eq!((status.gate_waits, status.gate_refused, status.gate_waiting), (1, 0, 0));
    assert!(status.gate_waited > Duration::from_secs(3));
}
