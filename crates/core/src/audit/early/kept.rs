//! What is kept for devices that are not known yet: so many entries, and so many bytes, since anybody may ask a sealed
//! server and the hashes of an entry are far longer than what was sent.

use std::collections::VecDeque;

use holdfast_audit::{Record, Stage};

/// Entries that are kept.
const ENTRIES: usize = 1024;

/// Bytes of their lines.
const BYTES: usize = 4 << 20;

/// One that is kept.
pub struct Entry {
    pub stage: Stage,
    pub record: Record,
    /// Have the devices of the configuration seen it?
    pub seen: bool,
}

/// All that are kept, oldest first.
#[derive(Default)]
pub struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
    lost: u64,
}

impl Kept {
    /// Is there nothing to hand over or to tell?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.lost == 0
    }

    /// How many did not fit.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Keeps one if there is room. `false`: there is none.
    pub fn push(&mut self, entry: Entry) -> bool {
        let bytes = self.bytes + entry.record.line().len();
        if self.entries.len() >= ENTRIES || bytes > BYTES {
            return false;
        }
        self.bytes = bytes;
        self.entries.push_back(entry);
        true
    }

    /// One more did not fit.
    pub fn lose(&mut self) {
        self.lost += 1;
    }

    /// Back to the front, in this order: they had their room before.
    pub fn put_back(&mut self, entries: impl DoubleEndedIterator<Item = Entry>) {
        for entry in entries.rev() {
            self.bytes += entry.record.line().len();
            self.entries.push_front(entry);
        }
    }

    /// Drops those that the devices of the configuration have seen.
    pub fn forget_seen(&mut self) {
        self.entries.retain(|entry| !entry.seen);
        self.bytes = self.entries.iter().map(|entry| entry.record.line().len()).sum();
    }
}

impl IntoIterator for Kept {
    type Item = Entry;
    type IntoIter = std::collections::vec_deque::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use holdfast_audit::{Hasher, Options, Request, RequestEntry};
    use holdfast_secret::SecretBytes;

    use super::*;

    fn entry(bytes: usize, seen: bool) -> Entry {
        let hasher = Hasher::new(&SecretBytes::new([1; 32]), Options::default()).unwrap();
        let path = "x".repeat(bytes);
        let request =
            RequestEntry { request: Request { path: &path, ..Request::default() }, ..RequestEntry::default() };
        Entry { stage: Stage::Request, record: hasher.request(&request).unwrap(), seen }
    }

    #[test]
    fn long_entries_find_no_room_and_what_goes_makes_room() {
        let mut kept = Kept::default();
        assert!(kept.push(entry(1 << 20, false)) && kept.push(entry(2 << 20, true)));
        assert!(!kept.push(entry(1 << 20, false)), "with what stands around them they are more than 4 MiB");
        assert!(kept.push(entry(10, false)), "a short one fits");
        kept.forget_seen();
        assert!(kept.push(entry(2 << 20, false)));
        let entries: Vec<Entry> = std::mem::take(&mut kept).into_iter().collect();
        kept.put_back(entries.into_iter());
        assert!(!kept.push(entry(1 << 20, false)), "what came back is counted");
    }

    #[test]
    fn short_entries_are_counted_one_by_one() {
        let mut kept = Kept::default();
        assert_eq!((0..2000).filter(|_| kept.push(entry(1, false))).count(), ENTRIES);
    }
}
