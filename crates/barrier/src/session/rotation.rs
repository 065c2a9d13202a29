//! A new key term, and a new root key: each one transaction that every batch compares, fenced as every batch is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_failpoint::failpoint;
use holdfast_secret::SecretBytes;
use holdfast_storage::{Compare, Condition, Error, KeyValue, Op, OpReply, Txn};

use super::Session;
use super::standing::Standing;
use crate::keyring::Keyring;
use crate::keys::{Keys, seal_succession};
use crate::layout;
use crate::record::{self, Generation};
use crate::view::StoreError;
use crate::xaes::{KEY, NONCE};

const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(200);
/// Times that we join anew for one change.
const REJOINS: usize = 3;

/// What became of a fenced transaction.
enum Fenced {
    /// It is applied.
    Done,
    /// Our record is not what we know: it was not applied, and never will be. What is there now.
    Outdated(Arc<Standing>, Option<KeyValue>),
}

impl Session {
    /// Draws a new term. Nothing is committed under an older one after this returns.
    pub async fn rotate(&self) -> Result<u32, StoreError> {
        self.rotate_from(None).await
    }

    /// As [`Session::rotate`], but only if this term still encrypts: of several replicas one does it.
    pub async fn rotate_from(&self, term: Option<u32>) -> Result<u32, StoreError> {
        for _ in 0..REJOINS {
            let changing = self.changing.lock().await;
            let keys = self.keys.load_full();
            if term.is_some_and(|term| term != keys.keyring.active()) {
                return Err(StoreError::Conflict);
            }
            let mut next = keys.keyring.duplicate();
            let term = next.add_term(&*self.entropy, self.clock.now());
            let stored = next.seal(&keys.root, &*self.entropy).map_err(StoreError::from)?;
            failpoint!("rotate.before-store").await;
            let outcome = self.replace(&keys, &next, stored, Vec::new()).await?;
            failpoint!("rotate.stored").await;
            drop(changing);
            match outcome {
                Fenced::Done => return Ok(term),
                Fenced::Outdated(standing, found) => self.member_changed(&standing, found).await?,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Seals the keyring under another root key, together with records outside the barrier that belong to it.
    /// `older` is the root key before the present one, if that is what people have: it opens the new one too.
    pub async fn rekey(
        &self,
        root: &[u8; KEY],
        older: Option<&[u8; KEY]>,
        clear: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        for _ in 0..REJOINS {
            let changing = self.changing.lock().await;
            let keys = self.keys.load_full();
            let stored = keys.keyring.seal(root, &*self.entropy).map_err(StoreError::from)?;
            // What cannot be opened again must not replace what can.
            Keyring::open(root, &stored).map_err(StoreError::from)?;
            let mut succession = Vec::new();
            for old in [Some(&*keys.root), older].into_iter().flatten() {
                let mut nonce = [0u8; NONCE];
                self.entropy.fill(&mut nonce);
                succession.extend(seal_succession(old, root, &nonce).map_err(StoreError::from)?);
            }
            let mut more = vec![Op::put(layout::SUCCESSION, succession)];
            more.extend(clear.iter().map(|(name, bytes)| Op::put(layout::clear(name), bytes.clone())));
            failpoint!("rekey.before-store").await;
            let outcome = self.replace(&keys, &keys.keyring, stored, more).await?;
            failpoint!("rekey.stored").await;
            drop(changing);
            match outcome {
                Fenced::Done => return Ok(()),
                Fenced::Outdated(standing, found) => self.member_changed(&standing, found).await?,
            }
        }
        Err(StoreError::Conflict)
    }

    /// From here on the root key before the present one opens nothing.
    pub async fn forget_predecessor(&self) -> Result<(), StoreError> {
        for _ in 0..REJOINS {
            let (Some(item), _) = self.storage.get(layout::SUCCESSION).await? else { return Ok(()) };
            let changing = self.changing.lock().await;
            let standing = self.standing.load_full();
            let txn = Txn {
                compares: vec![
                    standing.fence(),
                    // Not one that another rekey has left meanwhile.
                    Compare::new(layout::SUCCESSION, Condition::ModRevision(item.mod_revision)),
                ],
                then: vec![Op::delete(layout::SUCCESSION)],
                otherwise: vec![Op::get(standing.key.clone())],
            };
            let reply = self.storage.txn(txn).await?;
            drop(changing);
            if reply.succeeded {
                return Ok(());
            }
            let found = Standing::found(&reply.replies);
            if standing.is_as(found.as_ref()) {
                return Err(StoreError::Conflict);
            }
            self.member_changed(&standing, found).await?;
        }
        Err(StoreError::Conflict)
    }

    /// Writes a keyring and a new generation; when it is done, this replica uses it. [`Session::changing`] is held: our
    /// record is not changed by ourselves meanwhile.
    async fn replace(&self, keys: &Keys, next: &Keyring, stored: Vec<u8>, more: Vec<Op>) -> Result<Fenced, StoreError> {
        let standing = self.standing.load_full();
        // After the keys: who has those of an order has the order.
        if self.is_ordered_to_seal() {
            return Err(StoreError::Sealed);
        }
        let generation = Generation { term: next.active(), level: keys.level };
        let mut then = vec![
            Op::put(layout::KEYRING, stored.clone()),
            Op::put(layout::GENERATION, record::encode(&keys.mac, layout::GENERATION, &generation)),
        ];
        then.extend(more);
        let txn = Txn {
            compares: vec![
                standing.fence(),
                Compare::new(layout::KEYRING, Condition::ModRevision(keys.keyring_revision)),
                Compare::new(layout::GENERATION, Condition::ModRevision(keys.generation)),
            ],
            then,
            otherwise: vec![Op::get(standing.key.clone()), Op::get(layout::KEYRING)],
        };
        // Only one of many sendings can be applied, as each compares the keyring's revision.
        let mut last = StoreError::Conflict;
        for _ in 0..ATTEMPTS {
            match self.storage.txn(txn.clone()).await {
                Ok(reply) => {
                    let is_ours = |item: &KeyValue| item.value == stored;
                    let earlier = matches!(reply.replies.get(1), Some(OpReply::Get(Some(item))) if is_ours(item));
                    if reply.succeeded || earlier {
                        self.wait_applied(reply.revision).await?;
                        self.see(reply.revision).await?;
                        return Ok(Fenced::Done);
                    }
                    let found = Standing::found(&reply.replies);
                    return match standing.is_as(found.as_ref()) {
                        true => Err(StoreError::Conflict),
                        false => Ok(Fenced::Outdated(standing, found)),
                    };
                }
                Err(error @ (Error::Unknown(_) | Error::NoSpace)) => last = error.into(),
                Err(error) => return Err(error.into()),
            }
            if self.closing.load(Ordering::SeqCst) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(last)
    }

    /// The root key in use.
    pub fn root_key(&self) -> SecretBytes {
        SecretBytes::new(self.keys.load().root.as_slice())
    }

    /// Whether this is the root key in use.
    pub fn is_root_key(&self, root: &SecretBytes) -> bool {
        self.root_key() == *root
    }
}
