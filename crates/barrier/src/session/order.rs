//! The order to all replicas to seal, and who they are.
//!
//! The order is a record outside the barrier, written in one transaction with a new generation. Every batch compares the
//! generation, so none that began before is applied after it; and as each replica applies revisions whole and in order, it has
//! obeyed before it answers with anything newer.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use holdfast_storage::{Compare, Condition, Error, Event, Op, Range, Txn};

use super::Session;
use super::standing::Standing;
use crate::layout;
use crate::level::Levels;
use crate::record::{self, Generation, MemberRecord, State};
use crate::view::StoreError;

/// Name of the record outside the barrier that orders all replicas to seal.
pub const SEALED: &str = "sealed";

const ATTEMPTS: usize = 10;

/// An unsealed replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Random id of this run of the process, hexadecimal.
    pub id: String,
    /// Name of its place: pod, machine.
    pub instance: String,
    /// Address, version.
    pub labels: BTreeMap<String, String>,
    /// Feature levels that it serves.
    pub levels: Levels,
    /// Oldest and newest protocol that it speaks with other replicas; `None`: it does not talk to them.
    pub protocols: Option<(u8, u8)>,
    /// It is the one that answers this.
    pub own: bool,
}

impl Session {
    /// Leaves the order, together with other changes, if these compares hold.
    pub async fn order_seal(&self, note: Vec<u8>, more: Vec<Op>, if_so: Vec<Compare>) -> Result<(), StoreError> {
        // Whether an order that is there may be the one that was sent from here.
        let mut unsure = false;
        for attempt in 0..ATTEMPTS {
            let changing = self.changing.lock().await;
            let (keys, standing) = (self.keys.load_full(), self.standing.load_full());
            // After the keys: who has those of an order has the order. One of somebody else is as good, where that is all.
            if self.is_ordered_to_seal() {
                return if unsure || (attempt > 0 && more.is_empty()) { Ok(()) } else { Err(StoreError::Sealed) };
            }
            let generation = Generation { term: keys.keyring.active(), level: keys.level };
            let mut then = vec![
                Op::put(layout::GENERATION, record::encode(&keys.mac, layout::GENERATION, &generation)),
                Op::put(layout::clear(SEALED), note.clone()),
            ];
            then.extend(more.iter().cloned());
            let generation = Compare::new(layout::GENERATION, Condition::ModRevision(keys.generation));
            let mut compares = vec![standing.fence(), generation];
            compares.extend(if_so.iter().cloned());
            let otherwise = vec![Op::get(standing.key.clone())];
            let sent = self.send(Txn { compares, then, otherwise }).await;
            drop(changing);
            match sent {
                Ok(reply) if reply.succeeded => {
                    // What is read here from now on shows it, too.
                    self.answered.fetch_max(reply.revision, Ordering::SeqCst);
                    // All who read from memory have obeyed when this returns; the others ask before they read. It is an
                    // order also if that cannot be seen from here.
                    if let Err(error) = self.gate.pass(reply.revision, 0).await {
                        tracing::warn!(%error, "not every replica has confirmed that it is sealed");
                    }
                    return Ok(());
                }
                Ok(reply) => {
                    let found = Standing::found(&reply.replies);
                    if !standing.is_as(found.as_ref()) {
                        self.member_changed(&standing, found).await?;
                    }
                    // Perhaps a rotation came between: wait until it is applied here.
                    self.wait_applied(reply.revision).await?;
                }
                Err(Error::Unknown(_)) => unsure = true,
                Err(error) => return Err(error.into()),
            }
        }
        if unsure && self.is_ordered_to_seal() { Ok(()) } else { Err(StoreError::Conflict) }
    }

    /// Was there an order since this replica was unsealed?
    pub fn is_ordered_to_seal(&self) -> bool {
        self.ordered.load(Ordering::SeqCst)
    }

    /// Looks for an order among changes, before readers can see what came with it.
    pub(super) fn take_orders(&self, events: &[Event]) {
        let order = layout::clear(SEALED);
        for event in events {
            if let Event::Put(item) = event
                && item.key == order
                && item.mod_revision > self.began
            {
                self.ordered.store(true, Ordering::SeqCst);
            }
        }
    }

    /// The replicas whose records are in the store, without evicted ones.
    pub async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let (keys, own) = (self.keys.load_full(), self.standing.load_full());
        let items = self.storage.range(Range::prefix(layout::MEMBERS)).await?.items;
        let member = |item: &holdfast_storage::KeyValue| {
            let record: MemberRecord = record::decode(&keys.mac, &item.key, &item.value)?;
            let id = layout::member_of(&item.key)?;
            (record.state != State::Evicted).then(|| Member {
                id: layout::hex(&id),
                instance: record.instance,
                labels: record.labels,
                levels: record.formats,
                protocols: record.peer.map(|peer| peer.protocols),
                own: item.key == own.key,
            })
        };
        Ok(items.iter().filter_map(member).collect())
    }
}
