//! Keys that are being read from the store for the cache, and whether they changed since: what is read of one that did must
//! not be kept.

use bytes::Bytes;
use foldhash::HashMap;

/// By key.
#[derive(Default)]
pub struct Fills(HashMap<Bytes, Fill>);

#[derive(Default)]
struct Fill {
    readers: usize,
    changed: bool,
}

impl Fills {
    /// Somebody begins to read a key, and will call [`Fills::end`].
    pub fn begin(&mut self, key: &Bytes) {
        self.0.entry(key.clone()).or_default().readers += 1;
    }

    /// Somebody has read a key, or given up. Whether it changed meanwhile; `None`: nobody was reading it.
    pub fn end(&mut self, key: &Bytes) -> Option<bool> {
        let fill = self.0.get_mut(key)?;
        let changed = fill.changed;
        fill.readers -= 1;
        if fill.readers == 0 {
            self.0.remove(key);
        }
        Some(changed)
    }

    /// A key changed.
    pub fn spoil(&mut self, key: &[u8]) {
        if let Some(fill) = self.0.get_mut(key) {
            fill.changed = true;
        }
    }

    /// Anything may have changed.
    pub fn spoil_all(&mut self) {
        self.0.values_mut().for_each(|fill| fill.changed = true);
    }

    /// Nothing is being read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
