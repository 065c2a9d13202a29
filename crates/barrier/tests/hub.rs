//! Replicas that talk to each other, without sockets: pairs can be cut.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_barrier::peer::{Endpoint, Inbox, PROTOCOL, PeerError, PeerLink, PeerNet};
use holdfast_barrier::{Barrier, Options};
use holdfast_base::{Clock, SystemClock, SystemEntropy, Timestamp};
use holdfast_secret::SecretBytes;
use holdfast_storage::{MemoryStorage, Op, Storage, Txn};
use parking_lot::Mutex;

use crate::support::{Faulty, put, root, until};

/// What replicas say to each other goes through it.
#[derive(Debug, Default)]
pub struct Hub(Mutex<HubState>);

#[derive(Default)]
struct HubState {
    inboxes: HashMap<String, (String, Arc<dyn Inbox>)>,
    cut: HashSet<(String, String)>,
    drawn: u64,
}

#[derive(Debug)]
struct Line {
    hub: Arc<Hub>,
    name: String,
    protocols: (u8, u8),
}

struct OpenLine {
    hub: Arc<Hub>,
    endpoint: Endpoint,
}

impl std::fmt::Debug for HubState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubState").field("cut", &self.cut).finish_non_exhaustive()
    }
}

impl Hub {
    /// From here on the two do not reach each other.
    pub fn cut(&self, one: &str, other: &str) {
        let mut state = self.0.lock();
        state.cut.insert((one.to_owned(), other.to_owned()));
        state.cut.insert((other.to_owned(), one.to_owned()));
    }

    /// All reach all.
    pub fn mend(&self) {
        self.0.lock().cut.clear();
    }

    /// As if the process had died: it is not reached any more.
    pub fn hang_up(&self, name: &str) {
        self.0.lock().inboxes.remove(name);
    }
}

#[async_trait]
impl PeerNet for Line {
    async fn open(&self, secret: &SecretBytes, inbox: Arc<dyn Inbox>) -> std::io::Result<Arc<dyn PeerLink>> {
        assert_eq!(secret.len(), 32);
        let mut state = self.hub.0.lock();
        state.drawn += 1;
        let key = format!("{}#{}", self.name, state.drawn);
        state.inboxes.insert(self.name.clone(), (key.clone(), inbox));
        let endpoint = Endpoint { address: self.name.clone(), key, protocols: self.protocols };
        Ok(Arc::new(OpenLine { hub: self.hub.clone(), endpoint }))
    }
}

#[async_trait]
impl PeerLink for OpenLine {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    async fn call(&self, to: &Endpoint, message: Bytes) -> Result<Bytes, PeerError> {
        tokio::task::yield_now().await;
        let address = to.address.clone();
        let inbox = {
            let state = self.hub.0.lock();
            let cut = state.cut.contains(&(self.endpoint.address.clone(), address.clone()));
            state.inboxes.get(&address).filter(|_| !cut).cloned()
        };
        match inbox {
            None => Err(PeerError::Unreachable { address, reason: "cut".to_owned() }),
            Some((key, _)) if key != to.key => Err(PeerError::Stranger { address }),
            Some((_, inbox)) => Ok(inbox.receive(&self.endpoint.key, &message)),
        }
    }

    fn close(&self) {
        let mut state = self.hub.0.lock();
        if state.inboxes.get(&self.endpoint.address).is_some_and(|(key, _)| *key == self.endpoint.key) {
            state.inboxes.remove(&self.endpoint.address);
        }
    }
}

/// A clock that goes wrong by tenths: 10 is right.
#[derive(Clone, Copy, Debug)]
pub struct Drifting {
    tenths: u32,
    start: Duration,
}

impl Drifting {
    pub fn new(tenths: u32) -> Self {
        Self { tenths, start: SystemClock.boottime() }
    }
}

impl Clock for Drifting {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn boottime(&self) -> Duration {
        self.start + (SystemClock.boottime() - self.start) * self.tenths / 10
    }
}

/// A clock that can be put forward.
#[derive(Debug, Default)]
pub struct Jumping(AtomicU64);

impl Jumping {
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn boottime(&self) -> Duration {
        SystemClock.boottime() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// An open barrier that talks to others over the hub.
pub async fn open_on(hub: &Arc<Hub>, storage: Arc<dyn Storage>, name: &str) -> Arc<Barrier> {
    open_with(hub, storage, name, Arc::new(SystemClock), Options::default()).await
}

/// The same with another clock, and with options.
pub async fn open_with(
    hub: &Arc<Hub>,
    storage: Arc<dyn Storage>,
    name: &str,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Arc<Barrier> {
    open_speaking(hub, storage, name, clock, options, (PROTOCOL, PROTOCOL)).await
}

/// The same with other protocols.
pub async fn open_speaking(
    hub: &Arc<Hub>,
    storage: Arc<dyn Storage>,
    name: &str,
    clock: Arc<dyn Clock>,
    options: Options,
    protocols: (u8, u8),
) -> Arc<Barrier> {
    let line = Line { hub: hub.clone(), name: name.to_owned(), protocols };
    let options = Options { instance: name.to_owned(), peers: Some(Arc::new(line)), ..options };
    let barrier = Barrier::open_with(storage, clock, Arc::new(SystemEntropy), options);
    if !barrier.initialized().await.unwrap() {
        barrier.initialize(&root()).await.unwrap();
    }
    barrier.unseal(root()).await.unwrap();
    barrier
}

/// Waits until all of these read from memory.
pub async fn until_all_cached(barriers: &[&Arc<Barrier>]) {
    until("all read from memory", || async {
        barriers.iter().all(|barrier| barrier.status().is_some_and(|status| status.reads_memory))
    })
    .await;
}

/// Three replicas.
pub struct Three {
    pub hub: Arc<Hub>,
    pub storage: MemoryStorage,
    pub a: Arc<Barrier>,
    pub b: Arc<Barrier>,
    pub c: Arc<Barrier>,
    /// The store as `b` sees it.
    pub at_b: Faulty,
    /// The store as `c` sees it.
    pub at_c: Faulty,
}

/// They all read from memory.
pub async fn three() -> Three {
    let (hub, storage) = (Arc::new(Hub::default()), MemoryStorage::new());
    let (at_b, at_c) = (Faulty::over(storage.clone()), Faulty::over(storage.clone()));
    let a = open_on(&hub, Arc::new(storage.clone()), "a").await;
    put(&a, "old", "1").await.unwrap();
    let b = open_on(&hub, Arc::new(at_b.clone()), "b").await;
    let c = open_on(&hub, Arc::new(at_c.clone()), "c").await;
    until_all_cached(&[&a, &b, &c]).await;
    Three { hub, storage, a, b, c, at_b, at_c }
}

/// As by hand.
pub async fn delete_member(storage: &MemoryStorage, id: &str) {
    let then = vec![Op::delete(format!("member/{id}"))];
    storage.txn(Txn { then, ..Txn::default() }).await.unwrap();
}

/// How many members these have evicted.
pub fn evictions(barriers: &[&Arc<Barrier>]) -> u64 {
    barriers.iter().filter_map(|barrier| barrier.status()).map(|status| status.evictions).sum()
}
