//! [`Barrier`]: the encrypted key space of one process, sealed or open.

mod birth;
mod dump;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
pub use birth::UNTOLD;
pub use dump::{Dump, HOLD, RESTORE, Restore, Stored};
use holdfast_base::{Clock, Entropy, Milestone, Timestamp};
use holdfast_failpoint::failpoint;
use holdfast_secret::SecretBytes;
use holdfast_storage::{Compare, Condition, Op, OpReply, Range, Storage, Txn as StorageTxn};

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::error::{InitError, UnsealError};
use crate::keyring::{KeyringError, root_key};
use crate::keys::{Keys, open_succession};
use crate::layout::{self, GENERATION, KEYRING, SUCCESSION};
use crate::options::Options;
use crate::peer::Notes;
use crate::session::{Board, FsckReport, Ground, Member, PATIENCE, Session, Status};
use crate::view::{Check, Decode, Entry, Mark, Revision, Shared, Store, StoreError, Txn};

/// Changes that wait for a slow receiver before it is told that it missed some.
const CHANGES: usize = 4096;
const JOIN_ATTEMPTS: usize = 5;

/// The encrypted key space. Made sealed; [`Barrier::unseal`] brings the keys into memory.
///
/// Call [`Barrier::seal`] before the process ends: it leaves the cluster, so that nobody waits for this member.
pub struct Barrier {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    options: Options,
    open: ArcSwapOption<Session>,
    /// If it was opened by a root key before the present one: that older one.
    predecessor: ArcSwapOption<Zeroizing<[u8; 32]>>,
    changes: broadcast::Sender<Changed>,
    board: Board,
    /// Held while sealing and unsealing.
    transition: tokio::sync::Mutex<()>,
}

/// What changed in the store, by whomever, this process too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The value at this path was set or removed.
    Path(String),
    /// The record of this name outside the barrier was set or removed.
    Clear(String),
    /// Anything may have changed: drop what was derived.
    Everything,
}

/// The key that encrypts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its number, from 1.
    pub term: u32,
    /// When it was installed.
    pub install_time: Timestamp,
    /// Values that this process has encrypted since it was unsealed, but for those that are counted elsewhere.
    pub encryptions: u64,
}

impl Barrier {
    /// A sealed barrier over a store. Reads nothing yet.
    pub fn open(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        Self::open_with(storage, clock, entropy, Options::default())
    }

    /// As [`Barrier::open`], with options.
    pub fn open_with(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        options: Options,
    ) -> Arc<Self> {
        Arc::new(Self {
            storage,
            clock,
            entropy,
            options,
            open: ArcSwapOption::empty(),
            predecessor: ArcSwapOption::empty(),
            changes: broadcast::Sender::new(CHANGES),
            board: Board::default(),
            transition: tokio::sync::Mutex::new(()),
        })
    }

    /// Opens the keyring and starts to serve. Nothing happens if it is open already. The root key before the present one
    /// opens it too until [`Barrier::forget_predecessor`].
    pub async fn unseal(&self, root_key: SecretBytes) -> Result<(), UnsealError> {
        let _transition = self.transition.lock().await;
        if let Some(session) = self.open.load_full() {
            if !session.is_ordered_to_seal() {
                return Ok(());
            }
            // It has obeyed already, only its keys are still in memory.
            self.open.store(None);
            session.close().await;
        }
        let key = self::root_key(&root_key).ok_or(UnsealError::WrongKey)?;
        for _ in 0..JOIN_ATTEMPTS {
            let (keys, succeeded) = self.load_keys(key.clone()).await?;
            self.options.levels.admit(keys.level)?;
            let ground = Ground {
                storage: self.storage.clone(),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
                options: self.options.clone(),
                changes: self.changes.clone(),
                board: self.board.clone(),
            };
            match Session::open(ground, keys).await {
                Ok(session) => {
                    self.predecessor.store(succeeded.then(|| Arc::new(key)));
                    self.open.store(Some(session));
                    return Ok(());
                }
                // The keyring was replaced in this moment.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(UnsealError::Store(StoreError::Conflict))
    }

    /// Leaves the cluster and forgets all keys, of this process only. Requests get [`StoreError::Sealed`] from here on.
    pub async fn seal(&self) {
        let _transition = self.transition.lock().await;
        self.predecessor.store(None);
        if let Some(session) = self.open.swap(None) {
            session.close().await;
            failpoint!("leave.done").await;
        }
    }

    /// Leaves an order to all replicas to seal, `note` says why; from here on no write of any of them is applied and no read
    /// is answered. This one is still to be sealed by [`Barrier::seal`]. Who unseals deletes the record [`SEALED`].
    pub async fn order_seal(&self, note: Vec<u8>) -> Result<(), StoreError> {
        self.session()?.order_seal(note, Vec::new(), Vec::new()).await
    }

    /// The root key in use, for those who must seal for a moment and go on.
    pub fn root_key(&self) -> Result<SecretBytes, StoreError> {
        // Also when it was ordered to seal a moment ago: it is about to be dropped.
        let session = self.open.load_full().ok_or(StoreError::Sealed)?;
        Ok(session.root_key())
    }

    /// The replicas that are unsealed.
    pub async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.session()?.members().await
    }

    /// Whether there is no other member's record: nobody else can be unsealed. Works sealed.
    pub async fn is_alone(&self) -> Result<bool, StoreError> {
        let page = self.storage.range(Range::prefix(layout::MEMBERS).limit(2).keys_only()).await?;
        let own = usize::from(self.open.load().is_some());
        Ok(page.items.len() <= own)
    }

    /// Draws a new key term for what is written from now on; returns its number.
    pub async fn rotate(&self) -> Result<u32, StoreError> {
        self.session()?.rotate().await
    }

    /// As [`Barrier::rotate`], if this term still encrypts; else [`StoreError::Conflict`]: another replica was faster.
    pub async fn rotate_from(&self, term: u32) -> Result<u32, StoreError> {
        self.session()?.rotate_from(Some(term)).await
    }

    /// So many of [`KeyStatus::encryptions`] are counted elsewhere by now, and no more here.
    pub fn told_encryptions(&self, count: u64) {
        if let Ok(session) = self.session() {
            session.told_encryptions(count);
        }
    }

    /// Seals the keyring under another root key (32 bytes). `clear` are records outside the barrier that are written in the same
    /// transaction: the wrapped root key, the seal configuration.
    pub async fn rekey(&self, root_key: &SecretBytes, clear: Vec<(String, Vec<u8>)>) -> Result<(), InitError> {
        let key = self::root_key(root_key).ok_or(InitError::RootKeyLength)?;
        let predecessor = self.predecessor.load_full();
        self.session()?.rekey(&key, predecessor.as_deref().map(|older| &**older), clear).await?;
        self.predecessor.store(None);
        Ok(())
    }

    /// From here on the root key before the present one opens nothing. Call it when the present one is known to be in
    /// people's hands, or wrapped by a seal, and every replica has had the time to follow.
    pub async fn forget_predecessor(&self) -> Result<(), StoreError> {
        self.session()?.forget_predecessor().await
    }

    /// Whether it was opened by the root key before the present one: the shares of a rekey may have reached nobody.
    pub fn opened_by_predecessor(&self) -> bool {
        self.predecessor.load().is_some()
    }

    /// Whether this is the root key in use, or the one before it that this process was opened by: proof that shares or a
    /// wrapped key are good.
    pub fn is_root_key(&self, root_key: &SecretBytes) -> Result<bool, StoreError> {
        let session = self.session()?;
        if session.is_root_key(root_key) {
            return Ok(true);
        }
        Ok(self.predecessor.load().as_ref().is_some_and(|older| SecretBytes::new(older.as_slice()) == *root_key))
    }

    /// Reads everything that is stored and says what is wrong with it.
    pub async fn fsck(&self) -> Result<FsckReport, StoreError> {
        self.session()?.fsck().await
    }

    /// The last milestone that the store has passed; the default if none, or if its record is not authentic.
    pub async fn milestone(&self) -> Result<Milestone, StoreError> {
        self.session()?.milestone().await
    }

    /// Passes the next milestone. It is a promise when this returns: a store that is behind it later was put back. One that is
    /// behind `known` now begins a new count ([`Milestone::next`]).
    pub async fn pass_milestone(&self, known: &Milestone) -> Result<Milestone, StoreError> {
        self.session()?.pass_milestone(known).await
    }

    /// Changes of stored values that were not made by any replica, seen since the unseal. More than 0 is an attack, or a restore
    /// under a running server.
    pub fn integrity_violations(&self) -> u64 {
        self.open.load().as_ref().map_or(0, |session| *session.violations().borrow())
    }

    /// The same, as it grows. It ends when the barrier is sealed; `None` if it is.
    pub fn watch_violations(&self) -> Option<watch::Receiver<u64>> {
        self.open.load().as_ref().map(|session| session.violations())
    }

    /// Whether answers can leave: the store has confirmed this member within `window`, and every replica that reads from memory
    /// was heard within it, itself or through others. Not so when sealed, when the store does not answer, and for a moment
    /// after an eviction.
    pub fn can_answer(&self, window: Duration) -> bool {
        self.open.load().as_ref().is_some_and(|session| session.can_answer(window))
    }

    /// Returns when the store has confirmed none of the writes under way for 5 s: whoever waits for one of them may be told
    /// that its outcome is not known. The write goes on, and is done or refused when the store is back.
    pub async fn writes_stand_still(&self) {
        loop {
            let since = self.open.load().as_ref().and_then(|session| session.unanswered_since());
            let until = since.unwrap_or_else(Instant::now) + PATIENCE;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// How this replica does among the others; `None` when sealed.
    pub fn status(&self) -> Option<Status> {
        self.open.load().as_ref().map(|session| session.status())
    }

    /// Tells each change from now on, after readers can see it. Who lags far behind is told so by the channel, and must take it
    /// for [`Changed::Everything`].
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// From here on these notes are exchanged with other replicas, at least every 100 ms.
    pub fn exchange_notes(&self, notes: Weak<dyn Notes>) {
        self.board.exchange(notes);
    }

    /// Whether the keys are not in memory.
    pub fn is_sealed(&self) -> bool {
        self.look(|_| None::<()>).is_err()
    }

    /// A key of 32 bytes that follows from the keyring and a label, the same on all replicas and after rotation.
    pub fn derive_key(&self, label: &str) -> Result<SecretBytes, StoreError> {
        let mut key = vec![0u8; 32];
        self.session()?.with_keyring(|keyring| keyring.derive(&format!("derived/{label}"), &mut key));
        Ok(SecretBytes::new(key))
    }

    /// The key that encrypts now; `None` when sealed.
    pub fn key_status(&self) -> Option<KeyStatus> {
        let open = self.session().ok()?;
        open.with_keyring(|keyring| {
            let term = keyring.active();
            let install_time = keyring.term(term)?.install_time;
            Some(KeyStatus { term, install_time, encryptions: open.encryptions() })
        })
    }

    /// Reads a record outside the barrier, with its revision. Works sealed.
    pub async fn read_clear(&self, name: &str) -> Result<Option<(Vec<u8>, Revision)>, StoreError> {
        let (item, _) = self.storage.get(&layout::clear(name)).await?;
        Ok(item.map(|item| (item.value.to_vec(), item.mod_revision)))
    }

    /// Writes a record outside the barrier if the check holds, else [`StoreError::Conflict`]; `None` deletes it. Works sealed.
    /// What is written here is readable by whoever reads the store.
    pub async fn write_clear(
        &self,
        name: &str,
        bytes: Option<Vec<u8>>,
        check: Option<Check>,
    ) -> Result<Revision, StoreError> {
        let key = layout::clear(name);
        let compares = check.map(|check| Compare::new(key.clone(), condition(check))).into_iter().collect();
        let op = match bytes {
            Some(bytes) => Op::put(key, bytes),
            None => Op::delete(key),
        };
        let reply = self.storage.txn(StorageTxn { compares, then: vec![op], otherwise: Vec::new() }).await?;
        if reply.succeeded { Ok(reply.revision) } else { Err(StoreError::Conflict) }
    }

    fn session(&self) -> Result<Arc<Session>, StoreError> {
        self.open.load_full().filter(|session| !session.is_ordered_to_seal()).ok_or(StoreError::Sealed)
    }

    /// What memory has at hand. All requests look, so no reference to the session is counted; and nothing is awaited, as who
    /// looks holds one of few places of its thread.
    fn look<T>(&self, at_hand: impl FnOnce(&Session) -> Option<T>) -> Result<Option<T>, StoreError> {
        match self.open.load().as_deref() {
            Some(session) if !session.is_ordered_to_seal() => Ok(at_hand(session)),
            _ => Err(StoreError::Sealed),
        }
    }

    /// Keyring and generation of one revision; and whether the key is one that was succeeded by another.
    async fn load_keys(&self, root: Zeroizing<[u8; 32]>) -> Result<(Keys, bool), UnsealError> {
        let then = vec![Op::get(KEYRING), Op::get(GENERATION), Op::get(SUCCESSION)];
        let reply = self.storage.txn(StorageTxn { then, ..StorageTxn::default() }).await.map_err(StoreError::from)?;
        let mut items = reply.replies.into_iter().map(|op| match op {
            OpReply::Get(item) => item,
            _ => None,
        });
        let keyring = items.next().flatten().ok_or(UnsealError::NotInitialized)?;
        let generation = items
            .next()
            .flatten()
            .ok_or_else(|| UnsealError::Damaged("the generation record is missing".to_owned()))?;
        let succession = items.next().flatten();
        let open = |root| Keys::open(root, &keyring, &generation);
        match (open(root.clone()), succession) {
            (Err(KeyringError::WrongKey), Some(item)) => {
                let next = open_succession(&root, &item.value)?;
                Ok((open(next)?, true))
            }
            (keys, _) => Ok((keys?, false)),
        }
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        if let Some(session) = self.open.swap(None) {
            session.stop();
        }
    }
}

#[async_trait]
impl Store for Barrier {
    async fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        match self.look(|session| session.get_at_hand(path))? {
            Some(found) => found,
            None => self.session()?.get(path).await,
        }
    }

    async fn revision(&self, path: &str) -> Result<Option<Revision>, StoreError> {
        match self.look(|session| session.revision_at_hand(path))? {
            Some(found) => found,
            None => self.session()?.revision(path).await,
        }
    }

    async fn shared(&self, path: &str, decode: Decode) -> Result<Option<(Shared, Revision)>, StoreError> {
        match self.look(|session| session.shared_at_hand(path, decode))? {
            Some(found) => found,
            None => self.session()?.shared(path, decode).await,
        }
    }

    async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.session()?.list(folder, after, limit).await
    }

    async fn count(&self, folder: &str) -> Result<u64, StoreError> {
        self.session()?.count(folder).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.session()?.commit(txn).await
    }

    fn mark(&self) -> Option<Mark> {
        self.open.load().as_ref()?.mark()
    }

    fn is_unchanged(&self, mark: &Mark) -> bool {
        self.open.load().as_ref().is_some_and(|session| session.is_unchanged(mark))
    }

    fn member(&self) -> Option<String> {
        self.session().ok()?.confirmed_member()
    }
}

/// The condition of the store that a check is.
pub(crate) fn condition(check: Check) -> Condition {
    match check {
        Check::Absent => Condition::Absent,
        Check::Exists => Condition::Exists,
        Check::At(revision) => Condition::ModRevision(revision),
    }
}
