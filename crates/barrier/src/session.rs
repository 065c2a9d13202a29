//! An open barrier: one member of the cluster, from join to leave.
//!
//! Tasks: one *watch* feeds the cache, the roster and the keys (`watcher`); two *lanes* carry batches of writes (`lane`); a
//! *heartbeat* proves that the member key still stands (`heartbeat`, on a thread of its own); `standing` changes our own state
//! and looks after dead members. Requests come in at `values`, `commit`, `listing`, `rotation` and `fsck`.
//!
//! Replicas that can talk to each other (`peers`, `acks`) all read from memory, and no answer leaves before all show what it
//! shows (`gate`). One that cannot be talked to, or is slow, asks the store before each read (barrier mode).

mod acks;
mod applied;
mod commit;
mod digest;
mod feed;
mod figures;
mod fsck;
mod gate;
mod heartbeat;
mod integrity;
mod lane;
mod level;
mod listing;
mod milestone;
mod moment;
mod notes;
mod order;
mod pauses;
mod peers;
mod queue;
mod reading;
mod roster;
mod rotation;
mod standing;
mod status;
mod values;
mod watcher;
mod witness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
pub use figures::{Calls, Figures};
pub use fsck::FsckReport;
use holdfast_base::{Clock, Entropy};
use holdfast_secret::SecretBytes;
use holdfast_storage::{Range, Storage};
pub use moment::{look_anew, one_request, release};
pub(crate) use notes::Board;
pub use order::{Member, SEALED};
use parking_lot::Mutex;
pub use status::{Mode, PeerStatus, Status};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;

use crate::barrier::Changed;
use crate::cache::Cache;
use crate::keyring::Keyring;
use crate::keys::Keys;
use crate::layout;
use crate::names::Names;
use crate::options::Options;
use crate::peer::PeerLink;
use crate::view::{Revision, StoreError};
use applied::Applied;
use digest::Digest;
use feed::Feed;
use figures::Counting;
use gate::Gate;
use heartbeat::Beats;
use integrity::Integrity;
use lane::Room;
use peers::{Peers, Post};
use queue::Queue;
pub(crate) use reading::PATIENCE;
use reading::Tickets;
use roster::Roster;
use standing::Standing;
use witness::Witness;

/// Lanes of one replica: batches in flight at once.
const LANES: u8 = 2;
/// Number of the lane that no batch overwrites: what deletes compare in a full store, see `lane/full`.
const RESERVE: u8 = LANES;

/// Everything an open barrier has.
pub(crate) struct Session {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    options: Options,
    keys: ArcSwap<Keys>,
    /// Those of the keys, which never change.
    names: Arc<Names>,

    /// What the watch has told.
    cache: Cache,
    applied: Applied,
    /// Changes when the store is read anew: what a request made sure of before counts no more.
    epoch: AtomicU64,
    roster: Mutex<Roster>,
    feed: Feed,
    /// What the watch has told cannot be all.
    doubtful: AtomicBool,
    reconnect: Notify,
    ask_progress: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    changes: broadcast::Sender<Changed>,
    integrity: Integrity,
    witness: Mutex<Witness>,
    digest: Digest,

    /// Revision of the first join: orders to seal that are newer are obeyed.
    began: Revision,
    /// Somebody ordered all replicas to seal, or the store is at a level that this one does not serve.
    ordered: AtomicBool,

    /// What we are in the cluster.
    standing: ArcSwap<Standing>,
    changing: tokio::sync::Mutex<()>,
    wake: Notify,
    /// Boottime in nanoseconds at the send of the last heartbeat that held; 0: none.
    confirmed: AtomicU64,
    beats: Beats,
    /// No answer leaves while a peer could still read older state from its memory.
    gate: Arc<Gate>,
    peers: Peers,

    /// Writes.
    queue: Queue,
    closing: AtomicBool,
    /// Highest revision that a write was answered with.
    answered: AtomicI64,
    room: Room,
    encryptions: AtomicU64,

    counting: Counting,
    tickets: Tickets,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What [`Session::open`] needs.
pub(crate) struct Ground {
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub options: Options,
    pub changes: broadcast::Sender<Changed>,
    pub board: Board,
}

impl Session {
    /// Joins the cluster and starts to serve.
    pub async fn open(ground: Ground, keys: Keys) -> Result<Arc<Self>, StoreError> {
        let post = Arc::new(Post::default());
        let peers = Peers::new(listen(&ground, &keys, &post).await?, ground.board.clone());
        let joined = standing::join(&ground, &keys, &peers).await.inspect_err(|_| peers.close());
        let (standing, roster) = joined?;
        let start = standing.joined;
        let lanes =
            ground.storage.range(Range::prefix(layout::LANES).at(start)).await.inspect_err(|_| peers.close())?;
        let integrity = Integrity::default();
        integrity.start_from(&keys, &lanes.items);
        let session = Arc::new(Self {
            cache: Cache::new(start, ground.options.cache_bytes),
            applied: Applied::new(start),
            epoch: AtomicU64::new(next_epoch()),
            roster: Mutex::new(roster),
            feed: Feed::new(),
            doubtful: AtomicBool::new(false),
            reconnect: Notify::new(),
            ask_progress: Mutex::new(None),
            changes: ground.changes,
            integrity,
            witness: Mutex::default(),
            digest: Digest::default(),
            began: start,
            ordered: AtomicBool::new(false),
            standing: ArcSwap::from_pointee(standing),
            changing: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            confirmed: AtomicU64::new(0),
            beats: Beats::default(),
            gate: Gate::new(),
            peers,
            queue: Queue::new(ground.options.old_etcd),
            closing: AtomicBool::new(false),
            answered: AtomicI64::new(0),
            room: Room::default(),
            encryptions: AtomicU64::new(0),
            counting: Counting::default(),
            tickets: Tickets::default(),
            tasks: Mutex::new(Vec::new()),
            names: keys.names.clone(),
            keys: ArcSwap::from_pointee(keys),
            storage: ground.storage,
            clock: ground.clock,
            entropy: ground.entropy,
            options: ground.options,
        });
        session.digest.reset(start);
        post.deliver_to(&session);
        session.look_at_gate();
        let mut tasks = vec![
            tokio::spawn(watcher::run(session.clone())),
            heartbeat::start(session.clone()),
            tokio::spawn(standing::run(session.clone())),
            tokio::spawn(peers::run(session.clone())),
        ];
        tasks.extend((0..LANES).map(|lane| tokio::spawn(lane::run(session.clone(), lane))));
        *session.tasks.lock() = tasks;
        Ok(session)
    }

    /// Lets batches in flight end, leaves the cluster, ends all tasks.
    pub async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.queue.close();
        self.leave().await;
        let tasks = std::mem::take(&mut *self.tasks.lock());
        self.stop();
        for task in tasks {
            task.abort();
            // Aborted or ended: in both cases it holds the store no more.
            let _ = task.await;
        }
    }

    /// Ends all tasks at once, as a crash would.
    pub fn stop(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.queue.close();
        self.gate.close();
        self.peers.close();
        self.tasks.lock().drain(..).for_each(|task| task.abort());
        drop(self.queue.drain());
    }

    /// The keyring in use.
    pub fn with_keyring<T>(&self, read: impl FnOnce(&Keyring) -> T) -> T {
        read(&self.keys.load().keyring)
    }

    /// Values encrypted since it was opened, but for those that are counted elsewhere.
    pub fn encryptions(&self) -> u64 {
        self.encryptions.load(Ordering::Relaxed)
    }

    /// So many of them are counted elsewhere by now.
    pub fn told_encryptions(&self, count: u64) {
        let less = |now: u64| Some(now.saturating_sub(count));
        let _ = self.encryptions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Changes of the store by somebody else, seen since it was opened.
    pub fn violations(&self) -> watch::Receiver<u64> {
        self.integrity.violations()
    }
}

/// Listens to other replicas, if there can be any. Who vouches for them follows from the keyring.
async fn listen(ground: &Ground, keys: &Keys, post: &Arc<Post>) -> Result<Option<Arc<dyn PeerLink>>, StoreError> {
    let Some(net) = ground.options.peers.as_ref().filter(|_| !ground.storage.exclusive()) else { return Ok(None) };
    let mut secret = vec![0u8; 32];
    keys.keyring.derive("peers/1", &mut secret);
    let link = net.open(&SecretBytes::new(secret), post.clone()).await;
    link.map(Some).map_err(|error| StoreError::Unavailable(format!("cannot listen to other replicas: {error}")))
}

/// Never the same twice in a process.
fn next_epoch() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
