//! Names below folders, as of the revision that the cache shows. Only the watch drops them; a reader may add what it read *at*
//! that revision.
//!
//! A list changes when a key below its folder comes or goes, not when one gets another value.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_storage::Event;

use crate::fills::Fills;
use crate::view::Revision;

/// Bytes held at most. When there are more all go: lists are few, and soon read again.
const BUDGET: usize = 2 * 1024 * 1024;
/// Bytes counted for a name beyond its text, and for a list.
const SLOT_COST: usize = 64;

/// Lists by the stored prefix of their folders.
#[derive(Default)]
pub struct Lists {
    known: HashMap<Bytes, List>,
    used: usize,
    /// Folders that are being read.
    fills: Fills,
}

/// What stands below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Names of keys, and of folders with a slash behind.
    pub names: Arc<BTreeSet<String>>,
    /// It has not changed since.
    pub at: Revision,
}

impl Lists {
    /// What is known of a folder. `None`: it is to be read; then [`Lists::finish`] must be called.
    pub fn look_up(&mut self, prefix: &Bytes) -> Option<List> {
        let known = self.known.get(prefix).cloned();
        if known.is_none() {
            self.fills.begin(prefix);
        }
        known
    }

    /// Ends what [`Lists::look_up`] began; keeps what was read unless the list changed meanwhile.
    pub fn finish(&mut self, prefix: &Bytes, read: Option<List>) {
        let unchanged = self.fills.end(prefix) == Some(false);
        let Some(list) = read.filter(|_| unchanged) else { return };
        let cost = list.cost();
        if cost > BUDGET || self.known.contains_key(prefix) {
            return;
        }
        if self.used + cost > BUDGET {
            self.known.clear();
            self.used = 0;
        }
        self.used += cost;
        self.known.insert(prefix.clone(), list);
    }

    /// A change of the store: drops the lists that it changes.
    pub fn apply(&mut self, event: &Event) {
        let only_its_value = matches!(event, Event::Put(item) if item.create_revision != item.mod_revision);
        if only_its_value || (self.known.is_empty() && self.fills.is_empty()) {
            return;
        }
        let key = event.key();
        for (end, _) in key.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let prefix = &key[..=end];
            if let Some(list) = self.known.remove(prefix) {
                self.used -= list.cost();
            }
            self.fills.spoil(prefix);
        }
    }

    /// Forgets all.
    pub fn reset(&mut self) {
        self.known.clear();
        self.used = 0;
        self.fills.spoil_all();
    }

    /// Bytes held.
    pub fn used(&self) -> usize {
        self.used
    }
}

impl List {
    fn cost(&self) -> usize {
        self.names.iter().map(|name| name.len() + SLOT_COST).sum::<usize>() + SLOT_COST
    }
}

#[cfg(test)]
mod tests {
    use holdfast_storage::KeyValue;

    use super::*;

    const FOLDER: Bytes = Bytes::from_static(b"data/a/b/");

    fn list(name: &str) -> List {
        List { names: Arc::new(BTreeSet::from([name.to_owned()])), at: 7 }
    }

    fn put(key: &'static str, create_revision: Revision) -> Event {
        Event::Put(KeyValue { key: key.into(), value: "v".into(), create_revision, mod_revision: 9 })
    }

    fn kept(after: &Event) -> bool {
        let mut lists = Lists::default();
        assert_eq!(lists.look_up(&FOLDER), None);
        lists.finish(&FOLDER, Some(list("x")));
        lists.apply(after);
        lists.look_up(&FOLDER).is_some()
    }

    #[test]
    fn what_comes_or_goes_below_a_folder_changes_its_list() {
        assert!(!kept(&put("data/a/b/!x", 9)));
        assert!(!kept(&put("data/a/b/c/d/!x", 9)));
        assert!(!kept(&Event::Delete { key: "data/a/b/!x".into(), mod_revision: 9 }));
        assert!(kept(&put("data/a/b/!x", 8)), "another value");
        assert!(kept(&put("data/a/!b", 9)), "beside it");
        assert!(kept(&put("data/a/bb/!x", 9)), "another folder");
    }

    #[test]
    fn a_change_during_a_read_is_not_overwritten_by_it() {
        let mut lists = Lists::default();
        assert_eq!(lists.look_up(&FOLDER), None);
        lists.apply(&put("data/a/b/!x", 9));
        lists.finish(&FOLDER, Some(list("old")));
        assert_eq!(lists.look_up(&FOLDER), None);
        lists.reset();
        lists.finish(&FOLDER, Some(list("older")));
        assert_eq!(lists.look_up(&FOLDER), None);
        lists.finish(&FOLDER, Some(list("new")));
        assert_eq!(lists.look_up(&FOLDER), Some(list("new")));
    }

    #[test]
    fn it_stays_within_its_budget() {
        let mut lists = Lists::default();
        let name = "n".repeat(BUDGET / 8);
        for folder in 0..100 {
            let prefix = Bytes::from(format!("data/{folder}/"));
            lists.look_up(&prefix);
            lists.finish(&prefix, Some(list(&name)));
            assert!(lists.used() <= BUDGET && lists.look_up(&prefix).is_some());
        }
        lists.look_up(&FOLDER);
        lists.finish(&FOLDER, Some(list(&"n".repeat(BUDGET))));
        assert_eq!(lists.look_up(&FOLDER), None, "too long to be kept");
    }
}
