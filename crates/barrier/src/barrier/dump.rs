//! The whole store out and in again: what a snapshot is made of, and how one is put in the place of what is there.
//!
//! A restore first stages its chunks below `restore/`, beside everything else. One transaction then writes the marker
//! [`RESTORE`] together with the order to seal: from there on nobody writes and nobody opens the store, and what was staged
//! is put in place key by key, each transaction under the condition that the marker still stands. A process that dies in
//! between leaves the marker; the next one that starts goes on. The last transaction removes it.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_failpoint::failpoint;
use holdfast_storage::{Compare, Condition, KeyValue, Op, Range, Revision, Storage, Txn, after_prefix};
use serde::{Deserialize, Serialize};

use super::Barrier;
use crate::layout;
use crate::names::DATA;
use crate::session::SEALED;
use crate::view::StoreError;

/// Name of the record outside the barrier that says that a restore is being carried out.
pub const RESTORE: &str = "restore";
/// Name of the record outside the barrier that holds back revocations after a restore.
pub const HOLD: &str = "hold";

const STAGED: &[u8] = b"restore/";
/// Keys of a page.
const PAGE: usize = 200;
/// Bytes of a transaction at most.
const BYTES: usize = 900_000;
/// Changes of a transaction at most.
const OPS: usize = 100;

/// A key as stored and its value as stored.
pub type Stored = (Vec<u8>, Vec<u8>);

/// What is being restored: the content of the marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// Id under which the chunks are staged.
    pub id: String,
    /// Number of chunks.
    pub chunks: u32,
    /// The keyring and what belongs to it come from the snapshot too: other unseal keys from here on.
    pub foreign: bool,
    /// Content of [`HOLD`] afterwards.
    pub hold: serde_json::Value,
}

/// Reads everything at one revision, a page at a time.
pub struct Dump<'b> {
    storage: &'b dyn Storage,
    next: Option<Bytes>,
    /// The revision that it shows.
    pub revision: Revision,
}

impl Dump<'_> {
    /// The next records, in byte order of the keys, of about a chunk's size at most; `None`: that was all.
    pub async fn page(&mut self) -> Result<Option<Vec<Stored>>, StoreError> {
        loop {
            let Some(start) = self.next.take() else { return Ok(None) };
            let range = Range { end: Some(Bytes::from_static(&[0])), ..Range::key(start) };
            let page = self.storage.range(range.limit(PAGE).at(self.revision)).await?;
            let (mut records, mut bytes) = (Vec::new(), 0);
            let (last, mut more) = (page.items.last().map(|item| item.key.clone()), page.more);
            let mut end = last;
            for item in page.items {
                let size = item.key.len() + item.value.len() + 8;
                if bytes + size > BYTES && bytes > 0 {
                    (end, more) = (records.last().map(|(key, _): &Stored| Bytes::from(key.clone())), true);
                    break;
                }
                bytes += size;
                records.push((item.key.to_vec(), item.value.to_vec()));
            }
            self.next = end.filter(|_| more).map(|last| [&last[..], &[0]].concat().into());
            records.retain(|(key, _)| is_kept(key));
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
    }
}

/// Is the key part of a snapshot? Not what belongs to running processes, nor orders of the moment, nor how far the store has
/// come: who restores by us has not put it back behind our back.
fn is_kept(key: &[u8]) -> bool {
    let orders = [SEALED, RESTORE, HOLD, super::UNTOLD].map(layout::clear);
    !key.starts_with(layout::MEMBERS)
        && !key.starts_with(layout::LANES)
        && !key.starts_with(STAGED)
        && key != layout::NEVER
        && key != layout::MILESTONE
        && !orders.iter().any(|order| order == key)
}

/// Is the key replaced by this restore? The keys of the cluster itself only by a foreign snapshot, and then last.
fn is_replaced(key: &[u8]) -> bool {
    key.starts_with(DATA)
}

fn staged(id: &str, number: u32) -> Bytes {
    [STAGED, format!("{id}/{number:08}").as_bytes()].concat().into()
}

impl Barrier {
    /// Everything as it is now.
    pub async fn dump(&self) -> Result<Dump<'_>, StoreError> {
        let (_, revision) = self.storage.get(layout::GENERATION).await?;
        Ok(Dump { storage: &*self.storage, next: Some(Bytes::from_static(&[1])), revision })
    }

    /// Lays a chunk of a snapshot beside what is there.
    pub async fn stage(&self, id: &str, number: u32, chunk: Vec<u8>) -> Result<(), StoreError> {
        let op = Op::put(staged(id, number), chunk);
        self.storage.txn(Txn { then: vec![op], ..Txn::default() }).await?;
        Ok(())
    }

    /// Removes what was staged, of all restores, unless one is being carried out.
    pub async fn unstage(&self) -> Result<(), StoreError> {
        loop {
            let page = self.storage.range(Range::prefix(STAGED).limit(OPS).keys_only()).await?;
            let then: Vec<Op> = page.items.iter().map(|item| Op::delete(item.key.clone())).collect();
            if then.is_empty() {
                return Ok(());
            }
            let compares = vec![Compare::new(layout::clear(RESTORE), Condition::Absent)];
            if !self.storage.txn(Txn { compares, then, otherwise: Vec::new() }).await?.succeeded {
                return Ok(());
            }
        }
    }

    /// The point of no return: from here on the restore will be done, by this process or the next. All replicas seal.
    pub async fn commit_restore(&self, restore: &Restore) -> Result<(), StoreError> {
        let marker = serde_json::to_vec(restore)
            .map_err(|error| StoreError::Encode { path: RESTORE.to_owned(), reason: error.to_string() })?;
        let more = vec![Op::put(layout::clear(RESTORE), marker)];
        // Somebody else's restore may have removed what was staged.
        let if_so = vec![Compare::new(staged(&restore.id, 0), Condition::Exists)];
        self.session()?.order_seal(b"{\"restore\":true}".to_vec(), more, if_so).await
    }

    /// The restore that is being carried out.
    pub async fn restore_in_progress(&self) -> Result<Option<Restore>, StoreError> {
        Ok(self.marker().await?.map(|(restore, _)| restore))
    }

    async fn marker(&self) -> Result<Option<(Restore, Revision)>, StoreError> {
        let Some((bytes, revision)) = self.read_clear(RESTORE).await? else { return Ok(None) };
        let restore = serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Corrupt { path: RESTORE.to_owned(), reason: error.to_string() })?;
        Ok(Some((restore, revision)))
    }

    /// Puts what was staged in the place of what is there. It may be repeated, also by several processes at once, until it
    /// is done. `decode` reads a chunk. Call it sealed.
    pub async fn carry_out_restore(
        &self,
        decode: fn(&[u8]) -> Option<Vec<Stored>>,
    ) -> Result<Option<Restore>, StoreError> {
        let Some((restore, revision)) = self.marker().await? else { return Ok(None) };
        let mut work = Work {
            storage: &*self.storage,
            marker: Compare::new(layout::clear(RESTORE), Condition::ModRevision(revision)),
            restore: &restore,
            decode,
            number: 0,
            wanted: VecDeque::new(),
            last: Vec::new(),
            batch: Vec::new(),
            size: 0,
        };
        work.data().await?;
        failpoint!("restore.data-placed").await;
        work.finish(&restore).await?;
        failpoint!("restore.finished").await;
        self.unstage().await?;
        Ok(Some(restore))
    }
}

/// Two ordered lists, what is there and what shall be, walked side by side.
struct Work<'w> {
    storage: &'w dyn Storage,
    marker: Compare,
    restore: &'w Restore,
    decode: fn(&[u8]) -> Option<Vec<Stored>>,
    number: u32,
    wanted: VecDeque<Stored>,
    /// Keys of the cluster itself, for the last transaction.
    last: Vec<Stored>,
    batch: Vec<Op>,
    size: usize,
}

impl Work<'_> {
    async fn data(&mut self) -> Result<(), StoreError> {
        let mut next = Bytes::from_static(DATA);
        loop {
            let range = Range::between(next.clone(), after_prefix(DATA)).limit(PAGE);
            let page = self.storage.range(range).await?;
            let end = page.items.last().map(|item| item.key.clone()).filter(|_| page.more);
            for item in page.items {
                self.meet(&item).await?;
            }
            match end {
                Some(last) => next = [&last[..], &[0]].concat().into(),
                None => break,
            }
        }
        while let Some((key, value)) = self.want().await? {
            self.change(Op::put(key, value)).await?;
        }
        self.flush().await
    }

    /// A key that is there: all wanted ones before it are put; it itself stays, changes or goes.
    async fn meet(&mut self, item: &KeyValue) -> Result<(), StoreError> {
        while let Some((key, value)) = self.want().await? {
            match key.as_slice().cmp(&item.key[..]) {
                std::cmp::Ordering::Less => self.change(Op::put(key, value)).await?,
                std::cmp::Ordering::Equal if value == item.value => return Ok(()),
                std::cmp::Ordering::Equal => return self.change(Op::put(key, value)).await,
                std::cmp::Ordering::Greater => {
                    self.wanted.push_front((key, value));
                    break;
                }
            }
        }
        self.change(Op::delete(item.key.clone())).await
    }

    /// The next wanted value of the encrypted key space.
    async fn want(&mut self) -> Result<Option<Stored>, StoreError> {
        loop {
            while let Some(record) = self.wanted.pop_front() {
                if is_replaced(&record.0) {
                    return Ok(Some(record));
                }
                self.last.push(record);
            }
            if self.number == self.restore.chunks {
                return Ok(None);
            }
            let missing =
                || StoreError::Corrupt { path: RESTORE.to_owned(), reason: "a staged chunk is missing".to_owned() };
            let (item, _) = self.storage.get(&staged(&self.restore.id, self.number)).await?;
            let item = item.ok_or_else(missing)?;
            self.wanted = (self.decode)(&item.value).ok_or_else(missing)?.into();
            self.number += 1;
        }
    }

    async fn change(&mut self, op: Op) -> Result<(), StoreError> {
        let size = match &op {
            Op::Put { key, value } => key.len() + value.len(),
            _ => 64,
        };
        if self.batch.len() == OPS || self.size + size > BYTES {
            self.flush().await?;
        }
        self.size += size;
        self.batch.push(op);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        failpoint!("restore.before-batch").await;
        self.size = 0;
        let then = std::mem::take(&mut self.batch);
        self.send(then).await
    }

    async fn send(&self, then: Vec<Op>) -> Result<(), StoreError> {
        let txn = Txn { compares: vec![self.marker.clone()], then, otherwise: Vec::new() };
        match self.storage.txn(txn).await?.succeeded {
            true => Ok(()),
            // Another process was faster and is done.
            false => Err(StoreError::Conflict),
        }
    }

    /// The keys of the cluster if they are the snapshot's, the hold, and the end of marker and order, at once.
    async fn finish(&self, restore: &Restore) -> Result<(), StoreError> {
        let hold = restore.hold.to_string().into_bytes();
        let mut then = vec![
            Op::delete(layout::clear(RESTORE)),
            Op::delete(layout::clear(SEALED)),
            Op::put(layout::clear(HOLD), hold),
        ];
        if restore.foreign {
            let clear = self.storage.range(Range::prefix(layout::CLEAR).keys_only()).await?.items;
            let own = [layout::SUCCESSION.into()].into_iter().chain(clear.into_iter().map(|item| item.key));
            let replaced = |key: &Bytes| self.last.iter().any(|(wanted, _)| wanted == key);
            let orders = [RESTORE, SEALED, HOLD].map(layout::clear);
            let gone = own.filter(|key| !replaced(key) && !orders.contains(key));
            then.extend(gone.map(Op::delete));
            then.extend(self.last.iter().map(|(key, value)| Op::put(key.clone(), value.clone())));
        }
        self.send(then).await
    }
}
