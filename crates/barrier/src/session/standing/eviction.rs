//! Members that are silent, or do not give up their cache.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use holdfast_failpoint::{failpoint, switched};
use holdfast_storage::{Compare, Condition, Error, Op, Txn};

use super::{Standing, join::removal};
use crate::record::{self, MemberRecord, State};
use crate::session::Session;
use crate::view::StoreError;

impl Session {
    pub(super) async fn evict_the_silent(&self, standing: &Standing) -> Result<(), StoreError> {
        let now = self.clock.boottime();
        let (dead, over) = {
            let roster = self.roster.lock();
            (roster.dead(self.peers.talk(), now), roster.over(now))
        };
        let mine = Compare::new(standing.key.clone(), Condition::ModRevision(standing.revision));
        if now >= standing.humble_until {
            for (key, revision) in dead.evict {
                let Some(stored) = self.evicted_record(&key).await? else { continue };
                tracing::warn!("evicting a replica that is silent or does not give up its cache");
                let compares = vec![mine.clone(), Compare::new(key.clone(), Condition::ModRevision(revision))];
                let then = match switched!("mutant.no-tombstone") {
                    true => removal(&key, revision).then,
                    false => vec![Op::put(key.clone(), stored)],
                };
                let txn = |then| Txn { compares: compares.clone(), then, otherwise: Vec::new() };
                let reply = match self.send(txn(then)).await {
                    // A full store takes no tombstone. Whose lanes are left without a record counts as long.
                    Err(Error::NoSpace) => self.send(txn(vec![Op::delete(key)])).await?,
                    sent => sent?,
                };
                self.peers.counters.evictions.fetch_add(u64::from(reply.succeeded), Ordering::Relaxed);
                failpoint!("evict.written").await;
            }
        }
        let forgotten = dead.remove.into_iter().filter(|_| now >= standing.humble_until);
        for (key, revision) in over.into_iter().chain(forgotten) {
            let mut txn = removal(&key, revision);
            txn.compares.push(mine.clone());
            if self.send(txn).await?.succeeded {
                self.roster.lock().forget_vanished(&key);
            }
            failpoint!("evict.tombstone-removed").await;
        }
        Ok(())
    }

    async fn evicted_record(&self, key: &Bytes) -> Result<Option<Bytes>, StoreError> {
        let keys = self.keys.load_full();
        let (item, _) = self.storage.get(key).await?;
        let record = item.and_then(|item| record::decode::<MemberRecord>(&keys.mac, key, &item.value));
        Ok(record.map(|record| record::encode(&keys.mac, key, &MemberRecord { state: State::Evicted, ..record })))
    }
}
