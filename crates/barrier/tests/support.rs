//! A barrier to test with, and a store that can be told to fail.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use holdfast_barrier::peer::{Endpoint, Inbox, PROTOCOL, PeerError, PeerLink, PeerNet};
use holdfast_barrier::{Barrier, Check, Options, Store, StoreError, Txn};
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_secret::SecretBytes;
use holdfast_storage::{Error, MemoryStorage, Op, Page, Range, Revision, Storage, TxnReply, Watch};
use parking_lot::Mutex;
use tokio::sync::watch;

pub fn root() -> SecretBytes {
    SecretBytes::new([7; 32])
}

pub fn bytes(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes())
}

/// A sealed barrier of the instance with this name.
pub fn sealed(storage: Arc<dyn Storage>, instance: &str) -> Arc<Barrier> {
    let options = Options { instance: instance.to_owned(), ..Options::default() };
    Barrier::open_with(storage, Arc::new(SystemClock), Arc::new(SystemEntropy), options)
}

/// An open one; initialises the store if it must.
pub async fn open(storage: Arc<dyn Storage>, instance: &str) -> Arc<Barrier> {
    let barrier = sealed(storage, instance);
    if !barrier.initialized().await.unwrap() {
        barrier.initialize(&root()).await.unwrap();
    }
    barrier.unseal(root()).await.unwrap();
    barrier
}

pub async fn open_memory() -> (Arc<Barrier>, MemoryStorage) {
    let storage = MemoryStorage::new();
    (open(Arc::new(storage.clone()), "one").await, storage)
}

pub async fn put(barrier: &Barrier, path: &str, value: &str) -> Result<Revision, StoreError> {
    let mut txn = Txn::new();
    txn.put(path.to_owned(), bytes(value));
    barrier.commit(txn).await
}

pub async fn create(barrier: &Barrier, path: &str, value: &str) -> Result<Revision, StoreError> {
    let mut txn = Txn::new();
    txn.check(path.to_owned(), Check::Absent).put(path.to_owned(), bytes(value));
    barrier.commit(txn).await
}

pub async fn read(barrier: &Barrier, path: &str) -> Option<String> {
    let entry = barrier.get(path).await.unwrap()?;
    Some(String::from_utf8(entry.value.expose().to_vec()).unwrap())
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a [`Faulty`] store does with the next transactions that hold batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Applies it and loses the answer.
    LoseAnswer,
    /// Loses it.
    LoseRequest,
    /// Answers as if lost, and keeps it until [`Faulty::deliver`].
    Delay,
    /// Refuses it for its size.
    TooLarge,
    /// Says that it is full.
    NoSpace,
    /// Says that it is full, and keeps it until [`Faulty::deliver`].
    NoSpaceDelayed,
}

/// A store in memory with faults. Only batches fail, recognised by the transactions within; or everything, if cut off.
#[derive(Clone)]
pub struct Faulty {
    pub inner: MemoryStorage,
    faults: Arc<Mutex<Vec<Fault>>>,
    cut: Arc<Mutex<bool>>,
    /// See [`Faulty::cut_after`].
    last: Arc<Mutex<Option<&'static [u8]>>>,
    /// Batches that are still under way.
    late: Arc<Mutex<Vec<holdfast_storage::Txn>>>,
    /// Calls refused while cut off.
    refused: watch::Sender<usize>,
    lag: Arc<Mutex<Duration>>,
}

impl Faulty {
    pub fn new() -> Self {
        Self {
            inner: MemoryStorage::new(),
            faults: Arc::default(),
            cut: Arc::default(),
            last: Arc::default(),
            late: Arc::default(),
            refused: watch::Sender::new(0),
            lag: Arc::default(),
        }
    }

    /// One whose watches tell everything so much later.
    pub fn lagging(lag: Duration) -> Self {
        let faulty = Self::new();
        faulty.lag(lag);
        faulty
    }

    /// From here on watches tell everything so much later.
    pub fn lag(&self, lag: Duration) {
        *self.lag.lock() = lag;
    }

    /// The next batch meets the first of these, and so on.
    pub fn plan(&self, faults: &[Fault]) {
        *self.faults.lock() = faults.iter().rev().copied().collect();
    }

    pub fn left(&self) -> usize {
        self.faults.lock().len()
    }

    pub fn cut_off(&self, cut: bool) {
        *self.cut.lock() = cut;
    }

    /// The next transaction that puts a key with this prefix is applied; its answer is lost, and so is everything after it.
    pub fn cut_after(&self, prefix: &'static [u8]) {
        *self.last.lock() = Some(prefix);
    }

    fn is_last(&self, txn: &holdfast_storage::Txn) -> bool {
        let mut last = self.last.lock();
        let puts =
            |prefix: &[u8]| txn.then.iter().any(|op| matches!(op, Op::Put { key, .. } if key.starts_with(prefix)));
        let is_last = last.is_some_and(puts);
        if is_last {
            *last = None;
        }
        is_last
    }

    /// Delivers what was delayed, and says how many batches that were.
    pub async fn deliver(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock());
        let count = late.len();
        for txn in late {
            // Whether it still applies is what the test is about.
            let _ = self.inner.txn(txn).await;
        }
        count
    }

    /// Waits until so many calls were refused by [`Faulty::cut_off`].
    pub async fn refused(&self, calls: usize) {
        self.refused.subscribe().wait_for(|refused| *refused >= calls).await.unwrap();
    }

    fn reachable(&self) -> Result<(), Error> {
        if !*self.cut.lock() {
            return Ok(());
        }
        self.refused.send_modify(|refused| *refused += 1);
        Err(Error::Unknown("cut off".to_owned()))
    }
}

#[async_trait]
impl Storage for Faulty {
    async fn range(&self, range: Range) -> Result<Page, Error> {
        self.reachable()?;
        self.inner.range(range).await
    }

    async fn txn(&self, txn: holdfast_storage::Txn) -> Result<TxnReply, Error> {
        self.reachable()?;
        if self.is_last(&txn) {
            self.cut_off(true);
            self.inner.txn(txn).await?;
            return Err(Error::Unknown("the answer was lost".to_owned()));
        }
        let is_batch = txn.then.iter().any(|op| matches!(op, Op::Txn(_)));
        let fault = if is_batch { self.faults.lock().pop() } else { None };
        let lost = || Err(Error::Unknown("the answer was lost".to_owned()));
        match fault {
            None => self.inner.txn(txn).await,
            Some(Fault::LoseAnswer) => {
                self.inner.txn(txn).await?;
                lost()
            }
            Some(Fault::LoseRequest) => lost(),
            Some(Fault::Delay) => {
                self.late.lock().push(txn);
                lost()
            }
            Some(Fault::NoSpaceDelayed) => {
                self.late.lock().push(txn);
                Err(Error::NoSpace)
            }
            Some(Fault::TooLarge) => Err(Error::TooLarge("planned".to_owned())),
            Some(Fault::NoSpace) => Err(Error::NoSpace),
        }
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.reachable()?;
        let watch = self.inner.watch(prefix, from).await?;
        let (lag, ask) = (self.lag.clone(), watch.asker());
        let late = watch.then(move |update| {
            let lag = *lag.lock();
            async move {
                tokio::time::sleep(lag).await;
                update
            }
        });
        Ok(Watch::new(late.boxed(), ask))
    }

    fn kind(&self) -> &'static str {
        "faulty"
    }
}

/// The talk of replicas without sockets: pairs can be cut.
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
        let endpoint = Endpoint { address: self.name.clone(), key, protocols: (PROTOCOL, PROTOCOL) };
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

/// An open barrier that talks to others over the hub.
pub async fn open_on(hub: &Arc<Hub>, storage: Arc<dyn Storage>, name: &str) -> Arc<Barrier> {
    let line = Line { hub: hub.clone(), name: name.to_owned() };
    let options = Options { instance: name.to_owned(), peers: Some(Arc::new(line)), ..Options::default() };
    let barrier = Barrier::open_with(storage, Arc::new(SystemClock), Arc::new(SystemEntropy), options);
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
