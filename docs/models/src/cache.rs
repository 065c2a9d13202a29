//! The cache of one replica, fed by one watch (`crates/barrier/src/cache.rs`, `session/watcher.rs`).
//!
//! Keys 0 and 1 are written alone or together; a revision that writes both comes in two fragments, and one that writes
//! neither (the store may be shared) makes no event. Readers fill what is missing.

use crate::Mutation;
use crate::explore::Model;

const WHOLE: &str = "I5: no reader sees part of a revision";
const EQUAL: &str = "I6: an entry is what the store has at the applied revision";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "applied-from-header", breaks: EQUAL, switched: true },
    Mutation { name: "fill-without-pending", breaks: EQUAL, switched: true },
    Mutation { name: "fill-above-applied", breaks: EQUAL, switched: true },
    Mutation { name: "fragment-applied-at-once", breaks: WHOLE, switched: false },
];

const KEYS: usize = 2;
/// Revisions, the first of which wrote both keys.
const MOST: usize = 5;

/// The model.
pub struct Cache {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
}

/// Store, stream and cache.
#[derive(Clone, Hash)]
pub struct State {
    /// By revision, beginning with 1: the keys that it wrote, as bits.
    log: Vec<u8>,
    /// The watch delivers this revision next.
    next: usize,
    /// Its first fragment is there already.
    half: bool,
    applied: usize,
    /// By key: the revision that wrote the value.
    entries: [Option<usize>; KEYS],
    fills: [Option<Fill>; KEYS],
}

/// A reader that fetches what is not in the cache.
#[derive(Clone, Copy, Hash)]
struct Fill {
    at: usize,
    read: Option<usize>,
    changed: bool,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Step {
    /// The store gets a revision that writes these keys.
    Write { keys: u8 },
    /// The first half of a revision comes in.
    Fragment { revision: usize },
    /// The rest of it, or all.
    Revision { revision: usize },
    /// The store says that the watch has had everything.
    Progress { revision: usize },
    /// Some answer of the store has a newer revision in its header.
    Header { revision: usize },
    /// The watch starts again after what is applied.
    Reconnect,
    /// History is compacted: everything is read anew.
    Reload,
    /// A reader does not find a key, and will read it at what is applied.
    LookUp { key: usize },
    /// The store answers the reader.
    Read { key: usize },
    /// The reader puts what it read into the cache.
    Finish { key: usize },
    /// An entry makes room.
    Evict { key: usize },
}

impl State {
    fn newest(&self) -> usize {
        self.log.len()
    }

    /// The revision that wrote what a key has at `revision`.
    fn value(&self, key: usize, revision: usize) -> usize {
        (1..=revision).rev().find(|at| self.writes(*at, key)).unwrap_or(0)
    }

    fn writes(&self, revision: usize, key: usize) -> bool {
        self.log[revision - 1] & (1 << key) != 0
    }

    fn event(&mut self, key: usize, revision: usize) {
        if let Some(fill) = &mut self.fills[key] {
            fill.changed = true;
        }
        if self.entries[key].is_some() {
            self.entries[key] = Some(revision);
        }
    }
}

impl Cache {
    fn watch(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let (newest, revision) = (state.newest(), state.next);
        let mut next = state.clone();
        if revision > newest {
            next.applied = next.applied.max(newest);
            out.push((Step::Progress { revision: newest }, next));
        } else if state.log[revision - 1] == 3 && !state.half {
            next.half = true;
            if self.wrong == "fragment-applied-at-once" {
                next.event(0, revision);
            }
            out.push((Step::Fragment { revision }, next));
        } else {
            let ours = state.log[revision - 1] != 0;
            if ours && revision > state.applied {
                (0..KEYS).filter(|key| state.writes(revision, *key)).for_each(|key| next.event(key, revision));
                next.applied = revision;
            }
            (next.next, next.half) = (revision + 1, false);
            out.push((Step::Revision { revision }, next));
        }
        let again = State { next: state.applied + 1, half: false, ..state.clone() };
        out.push((Step::Reconnect, again));
        let mut anew = State { next: newest + 1, half: false, applied: newest, entries: [None; KEYS], ..state.clone() };
        anew.fills.iter_mut().flatten().for_each(|fill| fill.changed = true);
        out.push((Step::Reload, anew));
        if self.wrong == "applied-from-header" {
            out.push((Step::Header { revision: newest }, State { applied: newest, ..state.clone() }));
        }
    }

    fn reader(&self, state: &State, key: usize, out: &mut Vec<(Step, State)>) {
        let mut next = state.clone();
        match state.fills[key] {
            None if state.entries[key].is_none() => {
                next.fills[key] = Some(Fill { at: state.applied, read: None, changed: false });
                out.push((Step::LookUp { key }, next));
            }
            None => {
                next.entries[key] = None;
                out.push((Step::Evict { key }, next));
            }
            Some(fill) if fill.read.is_none() => {
                let at = if self.wrong == "fill-above-applied" { state.newest() } else { fill.at };
                next.fills[key] = Some(Fill { read: Some(state.value(key, at)), ..fill });
                out.push((Step::Read { key }, next));
            }
            Some(fill) => {
                next.fills[key] = None;
                if !fill.changed || self.wrong == "fill-without-pending" {
                    next.entries[key] = fill.read;
                }
                out.push((Step::Finish { key }, next));
            }
        }
    }
}

impl Model for Cache {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State { log: vec![3], next: 2, half: false, applied: 1, entries: [None; KEYS], fills: [None; KEYS] }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if state.newest() < MOST {
            for keys in 0..4 {
                let mut next = state.clone();
                next.log.push(keys);
                out.push((Step::Write { keys }, next));
            }
        }
        self.watch(state, out);
        (0..KEYS).for_each(|key| self.reader(state, key, out));
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        // A reader finds what is not here in the store, at what is applied.
        let reads = |key: usize| state.entries[key].unwrap_or_else(|| state.value(key, state.applied));
        let agrees = |revision: usize| (0..KEYS).all(|key| reads(key) == state.value(key, revision));
        match agrees(state.applied) {
            true => None,
            false if (1..=state.newest()).any(agrees) => Some(EQUAL),
            false => Some(WHOLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds};

    #[test]
    fn it_shows_the_store_at_what_is_applied() {
        holds("cache", &Cache { wrong: "" });
        breaks(MUTATIONS, |wrong| Cache { wrong });
    }
}
