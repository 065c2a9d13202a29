//! How far the store has come, for those who keep it elsewhere: a store that was put back while nobody ran is found out by it.
//!
//! The record is authentic, so that whoever runs the store can put back an older one and make no newer one. It is written by
//! whichever replica comes to it, unfenced, as it says nothing of that replica.

use holdfast_base::Milestone;
use holdfast_storage::{Compare, Condition, KeyValue, Op, Txn};

use super::Session;
use crate::layout::MILESTONE;
use crate::record::{self, MilestoneRecord};
use crate::view::StoreError;

/// Several replicas may come to it at once.
const ATTEMPTS: usize = 10;

impl Session {
    /// The last that was passed.
    pub async fn milestone(&self) -> Result<Milestone, StoreError> {
        let (item, _) = self.storage.get(MILESTONE).await?;
        Ok(self.read_milestone(item.as_ref()))
    }

    /// Passes the one after it. What the store has acknowledged it keeps: the milestone may be told to others then.
    pub async fn pass_milestone(&self, known: &Milestone) -> Result<Milestone, StoreError> {
        for _ in 0..ATTEMPTS {
            let (item, _) = self.storage.get(MILESTONE).await?;
            let next = self.read_milestone(item.as_ref()).next(known);
            let record = MilestoneRecord { restores: next.restores, number: next.number };
            let unchanged = item.map_or(Condition::Absent, |item| Condition::ModRevision(item.mod_revision));
            let txn = Txn {
                compares: vec![Compare::new(MILESTONE, unchanged)],
                then: vec![Op::put(MILESTONE, record::encode(&self.keys.load().mac, MILESTONE, &record))],
                otherwise: Vec::new(),
            };
            let reply = self.storage.txn(txn).await?;
            if reply.succeeded {
                return Ok(Milestone { revision: reply.revision, ..next });
            }
        }
        Err(StoreError::Conflict)
    }

    /// One that is not authentic is none: it is of the keyring before a foreign snapshot, or somebody else's work.
    fn read_milestone(&self, item: Option<&KeyValue>) -> Milestone {
        let read = |item: &KeyValue| {
            let record: MilestoneRecord = record::decode(&self.keys.load().mac, MILESTONE, &item.value)?;
            Some(Milestone { restores: record.restores, number: record.number, revision: item.mod_revision })
        };
        item.and_then(read).unwrap_or_default()
    }
}
