//! Versions that serve different feature levels, and versions that speak different protocols, over one store.

use std::sync::Arc;
use std::time::Duration;

use holdfast_barrier::{Barrier, Levels, Mode, Options, Status, StoreError, UnsealError};
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_storage::{MemoryStorage, Storage};

use crate::hub::{Hub, Jumping, open_speaking, open_with, until_all_cached};
use crate::support::{Faulty, put, read, root, until};

const OLD: Levels = Levels { oldest: 1, newest: 1 };
const NEW: Levels = Levels { oldest: 1, newest: 2 };
const HOUR: Duration = Duration::from_secs(3601);
/// As long as a replica may take to do what it does every quarter of a second.
const TURNS: Duration = Duration::from_secs(1);

/// Replicas that share a clock and can talk to each other.
struct Ground {
    hub: Arc<Hub>,
    storage: MemoryStorage,
    clock: Arc<Jumping>,
}

impl Ground {
    fn new() -> Self {
        Self { hub: Arc::default(), storage: MemoryStorage::new(), clock: Arc::default() }
    }

    async fn open(&self, name: &str, levels: Levels) -> Arc<Barrier> {
        self.open_over(Arc::new(self.storage.clone()), name, levels).await
    }

    async fn open_over(&self, storage: Arc<dyn Storage>, name: &str, levels: Levels) -> Arc<Barrier> {
        let options = Options { levels, ..Options::default() };
        open_with(&self.hub, storage, name, self.clock.clone(), options).await
    }

    /// Why one of these levels does not open.
    async fn refusal(&self, levels: Levels) -> String {
        let options = Options { instance: "late".to_owned(), levels, ..Options::default() };
        let (storage, entropy) = (Arc::new(self.storage.clone()), Arc::new(SystemEntropy));
        let late = Barrier::open_with(storage, self.clock.clone(), entropy, options);
        let error = late.unseal(root()).await.unwrap_err();
        assert!(matches!(error, UnsealError::Level { .. }), "{error}");
        error.to_string()
    }
}

fn status(barrier: &Barrier) -> Status {
    barrier.status().unwrap()
}

#[tokio::test]
async fn who_does_not_serve_the_level_of_the_store_does_not_join() {
    let ground = Ground::new();
    let a = ground.open("a", NEW).await;
    assert_eq!(status(&a).level, 2, "a new store begins with the newest");
    let why = ground.refusal(OLD).await;
    assert_eq!(
        why,
        "the store is at feature level 2, and this version serves level 1 only: run a version that serves level 2"
    );
    assert_eq!(a.members().await.unwrap().len(), 1);
    let why = ground.refusal(Levels { oldest: 3, newest: 4 }).await;
    assert!(why.contains("serves levels 3 to 4: run a version that serves level 2"), "{why}");
}

/// An upgrade, its way back, and the moment from which on there is none.
#[tokio::test]
async fn the_level_rises_when_all_serve_it_and_nobody_came_for_an_hour() {
    let ground = Ground::new();
    let (a, b) = (ground.open("a", OLD).await, ground.open("b", OLD).await);
    a.seal().await;
    let a = ground.open("a", NEW).await;
    put(&a, "k", "1").await.unwrap();
    ground.clock.forward(HOUR);
    tokio::time::sleep(TURNS).await;
    assert_eq!((status(&a).level, status(&b).level), (1, 1), "one of them would not serve it");
    let members = a.members().await.unwrap();
    let mut levels: Vec<_> = members.iter().map(|member| (member.instance.as_str(), member.levels)).collect();
    levels.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(levels, [("a", NEW), ("b", OLD)]);

    b.seal().await;
    let b = ground.open("b", NEW).await;
    tokio::time::sleep(TURNS).await;
    assert_eq!(status(&a).level, 1, "an hour has not passed");
    b.seal().await;
    let b = ground.open("b", OLD).await;
    assert_eq!(read(&b, "k").await.unwrap(), "1", "the way back");
    b.seal().await;

    let b = ground.open("b", NEW).await;
    ground.clock.forward(HOUR);
    until("the level is 2", || async { status(&a).level == 2 && status(&b).level == 2 }).await;
    put(&b, "k", "2").await.unwrap();
    assert_eq!(read(&a, "k").await.unwrap(), "2");
    assert_eq!(a.rotate().await.unwrap(), 2);
    until("b has the new term", || async { b.key_status().unwrap().term == 2 }).await;
    assert_eq!(status(&b).level, 2, "a rotation leaves the level as it is");
    assert!(a.fsck().await.unwrap().is_clean());
    ground.refusal(OLD).await;
}

/// It joined before the level rose, and who raised it had not seen it.
#[tokio::test]
async fn who_joins_while_the_level_rises_leaves() {
    let ground = Ground::new();
    ground.open("first", OLD).await.seal().await;
    let at_a = Faulty::over(ground.storage.clone());
    let a = ground.open_over(Arc::new(at_a.clone()), "a", NEW).await;
    at_a.lag(HOUR);
    let late = ground.open("late", OLD).await;
    ground.clock.forward(HOUR);
    until("it is sealed", || async { late.is_sealed() }).await;
    assert!(matches!(put(&late, "k", "1").await, Err(StoreError::Sealed)));
    assert!(matches!(late.unseal(root()).await, Err(UnsealError::Level { level: 2, served: OLD })));
    at_a.lag(Duration::ZERO);
    until("a goes on", || async { a.status().is_some_and(|status| status.level == 2 && status.peers.is_empty()) })
        .await;
}

/// They do not understand each other, so both ask the store; who understands both reads from memory with each.
#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_another_protocol_serves_beside_the_others() {
    let (hub, storage, clock) = (Arc::new(Hub::default()), MemoryStorage::new(), Arc::new(SystemClock));
    let open = async |name, protocols| {
        let storage = Arc::new(storage.clone());
        open_speaking(&hub, storage, name, clock.clone(), Options::default(), protocols).await
    };
    let (old, both) = (open("old", (1, 1)).await, open("both", (1, 2)).await);
    until_all_cached(&[&old, &both]).await;
    let new = open("new", (2, 2)).await;
    for number in 0..10 {
        let value = number.to_string();
        let (writer, reader) = if number % 2 == 0 { (&old, &new) } else { (&new, &old) };
        put(writer, "k", &value).await.unwrap();
        assert_eq!(read(reader, "k").await.unwrap(), value);
        assert_eq!(read(&both, "k").await.unwrap(), value);
    }
    until("those two ask the store", || async {
        [&old, &new].iter().all(|barrier| status(barrier).mode == Mode::Barrier)
    })
    .await;
    old.seal().await;
    until_all_cached(&[&both, &new]).await;
    assert_eq!(new.members().await.unwrap().iter().filter_map(|member| member.protocols).max(), Some((2, 2)));
}
