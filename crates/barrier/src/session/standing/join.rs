//! How a replica becomes a member, and what goes when it is one no more.

use bytes::Bytes;
use holdfast_base::Entropy;
use holdfast_failpoint::failpoint;
use holdfast_storage::{Compare, Condition, Error, Op, Range, Storage, Txn};

use super::{Standing, TICK};
use crate::keys::Keys;
use crate::layout;
use crate::options::Options;
use crate::peer::Endpoint;
use crate::record::{self, LaneRecord, MemberRecord, State};
use crate::session::peers::Peers;
use crate::session::roster::{self, Roster};
use crate::session::{Ground, RESERVE};
use crate::view::{Revision, StoreError};

const ENTER_ATTEMPTS: usize = 20;

/// Makes our record and lanes, and removes those of dead predecessors. The keys must still be those of the store.
pub async fn join(ground: &Ground, keys: &Keys, peers: &Peers) -> Result<(Standing, Roster), StoreError> {
    let record = own_record(State::Barrier, &ground.options, peers.endpoint());
    let standing = enter(ground.entropy.as_ref(), ground.storage.as_ref(), keys, &record).await?;
    failpoint!("join.entered").await;
    // As of our own record, from which on the watch tells: nobody can come or vanish unseen in between.
    let members = ground.storage.range(Range::prefix(layout::MEMBERS).at(standing.joined)).await?.items;
    let vanished = roster::vanished(ground.storage.as_ref(), &members, standing.joined).await?;
    let mut others = Vec::new();
    for item in members.into_iter().filter(|item| item.key != standing.key) {
        let record = record::decode::<MemberRecord>(&keys.mac, &item.key, &item.value);
        let predecessor = record.is_some_and(|record| record.instance == ground.options.instance);
        if predecessor || ground.storage.exclusive() {
            let txn = removal(&item.key, item.mod_revision);
            if ground.storage.txn(txn).await.is_ok_and(|reply| reply.succeeded) {
                continue;
            }
        }
        others.push(item);
    }
    failpoint!("join.predecessors-removed").await;
    let now = ground.clock.boottime();
    let mut roster = Roster::of(&others, &standing.key, &keys.mac, peers.protocols(), now);
    roster.count_vanished(vanished, &standing.key, now);
    Ok((standing, roster))
}

/// A new member in state barrier with its lanes, all in one transaction.
pub async fn enter(
    entropy: &dyn Entropy,
    storage: &dyn Storage,
    keys: &Keys,
    record: &MemberRecord,
) -> Result<Standing, StoreError> {
    let mut id = [0u8; 16];
    entropy.fill(&mut id);
    let key = layout::member(&id);
    let mut then = vec![Op::put(key.clone(), record::encode(&keys.mac, &key, record))];
    for number in 0..=RESERVE {
        let key = layout::lane(&id, number);
        let record = LaneRecord::default();
        then.push(Op::put(key.clone(), record::encode(&keys.mac, &key, &record)));
    }
    let compares = vec![
        Compare::new(key.clone(), Condition::Absent),
        Compare::new(layout::KEYRING, Condition::ModRevision(keys.keyring_revision)),
        Compare::new(layout::GENERATION, Condition::ModRevision(keys.generation)),
    ];
    let txn = Txn { compares, then, otherwise: vec![Op::get(key.clone())] };
    let joined = enter_for_certain(storage, txn).await?;
    Ok(Standing { id, key, revision: joined, joined, state: State::Barrier, humble_until: std::time::Duration::ZERO })
}

pub fn own_record(state: State, options: &Options, peer: Option<Endpoint>) -> MemberRecord {
    MemberRecord {
        state,
        instance: options.instance.clone(),
        formats: options.levels,
        labels: options.labels.clone(),
        peer,
    }
}

/// Sends the transaction until its outcome is known: a record of ours that we do not know of would pass for another replica.
async fn enter_for_certain(storage: &dyn Storage, txn: Txn) -> Result<Revision, StoreError> {
    let mut last = StoreError::Conflict;
    for _ in 0..ENTER_ATTEMPTS {
        match storage.txn(txn.clone()).await {
            Ok(reply) if reply.succeeded => return Ok(reply.revision),
            // The id was drawn for this: if it is there, an earlier sending was applied.
            Ok(reply) => {
                return Standing::found(&reply.replies).map(|item| item.mod_revision).ok_or(StoreError::Conflict);
            }
            Err(error @ Error::Unknown(_)) => last = error.into(),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(TICK).await;
    }
    Err(last)
}

/// Removes a member and its lanes.
pub fn removal(member: &Bytes, revision: Revision) -> Txn {
    let mut then = vec![Op::delete(member.clone())];
    if let Some(id) = layout::member_of(member) {
        then.extend((0..=RESERVE).map(|number| Op::delete(layout::lane(&id, number))));
    }
    Txn { compares: vec![Compare::new(member.clone(), Condition::ModRevision(revision))], then, otherwise: Vec::new() }
}
