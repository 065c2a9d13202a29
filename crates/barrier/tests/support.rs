//! A barrier to test with, and a store that can be told to fail.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use holdfast_barrier::{Barrier, Check, Options, Store, StoreError, Txn};
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_secret::SecretBytes;
use holdfast_storage::{Error, MemoryStorage, Op, Page, Range, Revision, Storage, TxnReply, Update, Watch};
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

pub async fn delete(barrier: &Barrier, path: &str) -> Result<Revision, StoreError> {
    let mut txn = Txn::new();
    txn.delete(path.to_owned());
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
    /// Loses it and never says so.
    Swallow,
    /// Answers as if lost, and keeps it until [`Faulty::deliver`].
    Delay,
    /// Refuses it for its size.
    TooLarge,
    /// Says that it is full.
    NoSpace,
    /// Says that it is full, and keeps it until [`Faulty::deliver`].
    NoSpaceDelayed,
    /// The same, and is full from then on.
    FillsUp,
}

/// A store in memory with faults. Only batches fail, recognised by the transactions within; or everything, if cut off; or what
/// puts something, if full.
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
    /// Revisions that watches will not tell.
    lose: Arc<Mutex<usize>>,
    /// There are no watches.
    unwatched: watch::Sender<bool>,
    full: Arc<Mutex<bool>>,
    /// Transactions answered without a fault.
    answered: watch::Sender<usize>,
    held: watch::Sender<bool>,
    /// Answers to reads that are held back.
    holding: watch::Sender<usize>,
}

impl Faulty {
    pub fn new() -> Self {
        Self::over(MemoryStorage::new())
    }

    /// The way of one replica to a store that others reach by other ways.
    pub fn over(inner: MemoryStorage) -> Self {
        Self {
            inner,
            faults: Arc::default(),
            cut: Arc::default(),
            last: Arc::default(),
            late: Arc::default(),
            refused: watch::Sender::new(0),
            lag: Arc::default(),
            lose: Arc::default(),
            unwatched: watch::Sender::new(false),
            full: Arc::default(),
            answered: watch::Sender::new(0),
            held: watch::Sender::new(false),
            holding: watch::Sender::new(0),
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

    /// From here on watches break off and none begins, or they do again.
    pub fn break_watches(&self, broken: bool) {
        self.unwatched.send_replace(broken);
    }

    /// Watches leave out so many revisions.
    pub fn lose(&self, revisions: usize) {
        *self.lose.lock() = revisions;
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

    /// From here on it takes no put, or all again.
    pub fn fill(&self, full: bool) {
        *self.full.lock() = full;
    }

    /// Waits until a transaction from now on was answered: of who is idle, a heartbeat.
    pub async fn next_answer(&self) {
        let mut answered = self.answered.subscribe();
        let before = *answered.borrow_and_update();
        answered.wait_for(|count| *count > before).await.unwrap();
    }

    /// Reads from here on are of now, and answered when this is taken back.
    pub fn hold_answers(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Waits until an answer is held back.
    pub async fn holds_one(&self) {
        self.holding.subscribe().wait_for(|count| *count > 0).await.unwrap();
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
        let page = self.inner.range(range).await;
        if *self.held.borrow() {
            self.holding.send_modify(|count| *count += 1);
            self.held.subscribe().wait_for(|held| !held).await.unwrap();
        }
        page
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
            None if *self.full.lock() && puts(&txn) => Err(Error::NoSpace),
            None => {
                let reply = self.inner.txn(txn).await;
                self.answered.send_modify(|count| *count += 1);
                reply
            }
            Some(Fault::LoseAnswer) => {
                self.inner.txn(txn).await?;
                lost()
            }
            Some(Fault::LoseRequest) => lost(),
            Some(Fault::Swallow) => std::future::pending().await,
            Some(Fault::Delay) => {
                self.late.lock().push(txn);
                lost()
            }
            Some(Fault::NoSpaceDelayed) => {
                self.late.lock().push(txn);
                Err(Error::NoSpace)
            }
            Some(Fault::FillsUp) => {
                self.late.lock().push(txn);
                self.fill(true);
                Err(Error::NoSpace)
            }
            Some(Fault::TooLarge) => Err(Error::TooLarge("planned".to_owned())),
            Some(Fault::NoSpace) => Err(Error::NoSpace),
        }
    }

    async fn watch(&self, prefix: &[u8], from: Revision) -> Result<Watch, Error> {
        self.reachable()?;
        let mut unwatched = self.unwatched.subscribe();
        if *unwatched.borrow() {
            return Err(Error::Unknown("no watch begins".to_owned()));
        }
        let watch = self.inner.watch(prefix, from).await?;
        let (lag, lose, ask) = (self.lag.clone(), self.lose.clone(), watch.asker());
        let told = watch.filter(move |update| {
            let mut left = lose.lock();
            let lost = *left > 0 && matches!(update, Ok(Update::Revision { .. }));
            *left -= usize::from(lost);
            std::future::ready(!lost)
        });
        let late = told.then(move |update| {
            let lag = *lag.lock();
            async move {
                tokio::time::sleep(lag).await;
                update
            }
        });
        let broken = async move { drop(unwatched.wait_for(|broken| *broken).await) };
        Ok(Watch::new(late.take_until(Box::pin(broken)).boxed(), ask))
    }

    fn kind(&self) -> &'static str {
        "faulty"
    }
}

fn puts(txn: &holdfast_storage::Txn) -> bool {
    txn.then.iter().any(|op| match op {
        Op::Put { .. } => true,
        Op::Txn(inner) => puts(inner),
        Op::Delete { .. } | Op::Get { .. } => false,
    })
}
