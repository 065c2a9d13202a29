//! Reads everything and says what is wrong with it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use holdfast_storage::{KeyValue, Range, after_prefix};

use super::Session;
use crate::keys::Keys;
use crate::layout;
use crate::names::DATA;
use crate::record::{self, LaneRecord, MemberRecord};
use crate::value::{self, ValueError};
use crate::view::StoreError;

const PAGE: usize = 200;
/// Paths named in the report at most.
const NAMED: usize = 100;

/// What was found in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Encrypted keys.
    pub keys: u64,
    /// Bytes of their values as stored.
    pub bytes: u64,
    /// Values by key term.
    pub terms: BTreeMap<u32, u64>,
    /// Keys whose name does not decrypt.
    pub bad_names: u64,
    /// Values whose batch header is not authentic: moved, changed or put there by somebody else.
    pub bad_headers: u64,
    /// Values with an authentic header that do not decrypt.
    pub undecryptable: u64,
    /// Paths of the values counted in the two lines above, the first hundred.
    pub damaged_paths: BTreeSet<String>,
    /// Members, this one too.
    pub members: u64,
    /// Member and lane records that are not authentic.
    pub bad_records: u64,
    /// Lanes whose member's record was removed by hand; the replicas remove them within seconds.
    pub orphan_lanes: u64,
}

impl FsckReport {
    /// Whether all is well.
    pub fn is_clean(&self) -> bool {
        self.bad_names + self.bad_headers + self.undecryptable + self.bad_records + self.orphan_lanes == 0
    }
}

impl Session {
    /// Checks everything that is stored. Values written meanwhile may or may not be in the report.
    pub async fn fsck(&self) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport::default();
        let mut next = bytes::Bytes::from_static(DATA);
        loop {
            let page = self.storage.range(Range::between(next, after_prefix(DATA)).limit(PAGE)).await?;
            // After the page: it may hold a term that was new.
            self.wait_applied(page.revision).await?;
            let keys = self.keys.load_full();
            page.items.iter().for_each(|item| report.take_value(&keys, item));
            match page.items.last() {
                Some(last) if page.more => next = [&last.key[..], &[0]].concat().into(),
                _ => break,
            }
        }
        let keys = self.keys.load_full();
        // Of one revision: who joins or leaves meanwhile does so with all of its records.
        let members = self.storage.range(Range::prefix(layout::MEMBERS)).await?;
        let lanes = self.storage.range(Range::prefix(layout::LANES).at(members.revision)).await?.items;
        report.take_records(&keys, &members.items, &lanes);
        Ok(report)
    }
}

impl FsckReport {
    fn take_value(&mut self, keys: &Keys, item: &KeyValue) {
        self.keys += 1;
        self.bytes += item.value.len() as u64;
        if let Some(term) = value::term(&item.value) {
            *self.terms.entry(term).or_default() += 1;
        }
        let Ok(path) = keys.names.path(&item.key) else {
            self.bad_names += 1;
            return;
        };
        match value::decrypt(&keys.keyring, &keys.mac, &path, &item.value) {
            Ok(_) => return,
            Err(ValueError::Decrypt | ValueError::Term) => self.undecryptable += 1,
            Err(_) => self.bad_headers += 1,
        }
        if self.damaged_paths.len() < NAMED {
            self.damaged_paths.insert(path);
        }
    }

    fn take_records(&mut self, keys: &Keys, members: &[KeyValue], lanes: &[KeyValue]) {
        let ids: HashSet<_> = members.iter().filter_map(|item| layout::member_of(&item.key)).collect();
        self.members = members.len() as u64;
        let authentic = |item: &&KeyValue| record::decode::<MemberRecord>(&keys.mac, &item.key, &item.value).is_none();
        self.bad_records += members.iter().filter(authentic).count() as u64;
        for item in lanes {
            if record::decode::<LaneRecord>(&keys.mac, &item.key, &item.value).is_none() {
                self.bad_records += 1;
            }
            if layout::lane_owner(&item.key).is_none_or(|id| !ids.contains(&id)) {
                self.orphan_lanes += 1;
            }
        }
    }
}
