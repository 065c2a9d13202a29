//! Three replicas, their caches and the release gate (`crates/barrier/src/session`: `roster.rs`, `acks.rs`, `standing.rs`,
//! `peers.rs`, `reading.rs`).
//!
//! `replicas.rs` has what each knows and shows, this file what happens. Left out, as it could only shut the gate or end the
//! right to read from memory earlier: a wait ends as soon as the lease is over (`clock` shows that it is not sooner), a lease
//! lasts as long as the record stands, an answer leaves as soon as it may.

mod replicas;

use crate::Mutation;
use crate::explore::Model;
pub use replicas::State;
use replicas::{Event, Mark, N, Replica, Seen};

const GATE: &str = "I2: what was shown is applied by all who read from memory";
const LEASE: &str = "I3: who is not counted any more does not read from memory";
const ENTRY: &str = "I4: who reads from memory has applied its own record";
const CLIENTS: &str = "I11: nobody is shown less than somebody was shown before";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "gate-writes-only", breaks: GATE, switched: true },
    Mutation { name: "barrier-reads-past-gate", breaks: GATE, switched: true },
    Mutation { name: "no-tombstone", breaks: LEASE, switched: true },
    Mutation { name: "demoted-for-any-record", breaks: LEASE, switched: true },
    Mutation { name: "joiner-ignores-lanes-without-member", breaks: LEASE, switched: false },
    Mutation { name: "joiner-takes-old-acks-of-the-evicted", breaks: LEASE, switched: false },
    Mutation { name: "reload-trusts-old-acks", breaks: LEASE, switched: false },
    Mutation { name: "record-lowered-before-the-flag", breaks: LEASE, switched: false },
    Mutation { name: "cached-before-its-record-is-applied", breaks: ENTRY, switched: false },
    Mutation { name: "cached-before-all-know-it", breaks: GATE, switched: false },
];

/// The model.
#[derive(Clone, Copy)]
pub struct Gate {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
    /// Replicas that read from memory at the start.
    pub members: usize,
    /// Another may join.
    pub joins: bool,
    /// The second may be evicted.
    pub evicted: bool,
    /// Or its record deleted by hand.
    pub deleted: bool,
    /// The first may lose its watch.
    pub reloads: bool,
    /// One of these gives up its cache, and may take it up again.
    pub demoted: &'static [usize],
    /// These write; it matters only to one who is alone who wrote.
    pub writers: &'static [usize],
    /// So often.
    pub writes: usize,
    /// To so many keys, 1 or 2.
    pub keys: usize,
    /// These know what others said only once they have heard it. The rest know it at once, which opens the gate as early as
    /// can be.
    pub late: &'static [usize],
    /// Judge by what clients see alone.
    pub only_clients: bool,
}

/// What happens. Replicas are numbered from 0.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Step {
    /// A replica writes a key.
    Write { by: usize, key: usize },
    /// Its watch shows it the next revision.
    Apply { by: usize, revision: usize },
    /// Its watch is lost: it reads everything anew, without its cache.
    Reload { by: usize, at: usize },
    /// It hears what another knows.
    Hear { by: usize, from: usize },
    /// A new replica puts its record and reads those of others.
    Join { by: usize },
    /// It puts its record: it wants to read from memory.
    Enter { by: usize },
    /// It stops to read from memory.
    Demote { by: usize },
    /// It puts its record: it asks the store before it reads.
    Lower { by: usize },
    /// It learns what became of its record.
    Learn { by: usize },
    /// It marks another as evicted.
    Evict { by: usize, whom: usize },
    /// Somebody deletes the record of a replica by hand, and leaves its lanes.
    DeletedByHand { whom: usize },
    /// The last heartbeat of a replica entitles it no more.
    LeaseOver { whom: usize },
    /// What is left of an evicted one is removed.
    Remove { by: usize, whom: usize },
}

impl Gate {
    fn own_steps(&self, state: &State, by: usize, out: &mut Vec<(Step, State)>) {
        let own = state.replicas[by];
        let newest = state.log.len();
        if own.applied < newest {
            let mut next = state.clone();
            next.replicas[by].applied += 1;
            out.push((Step::Apply { by, revision: own.applied + 1 }, next));
        }
        if self.reloads && by == 0 && own.reloaded.1 == 0 {
            let mut next = state.clone();
            let demoted = if own.cached { own.record } else { own.demoted };
            next.replicas[by] = Replica { applied: newest, reloaded: (own.applied, newest), demoted, ..own };
            out.push((Step::Reload { by, at: newest }, next));
        }
        let (mark, revision) = state.stored(by);
        if revision != own.record {
            if matches!(mark, Some(Mark::Barrier | Mark::Cached)) {
                let mut next = state.clone();
                next.replicas[by] = Replica { cached: mark == Some(Mark::Cached), record: revision, ..own };
                out.push((Step::Learn { by }, next));
            }
            // Every compare on the record fails.
            return;
        }
        let written = state.count(|event| matches!(event, Event::Write { .. }));
        if self.writers.contains(&by) && written < self.writes {
            // Which is written first is all the same.
            for key in 0..self.keys.min(written + 1) {
                out.push((Step::Write { by, key }, state.and(Event::Write { key, by })));
            }
        }
        if !own.cached && self.may_enter(state, by) {
            out.push((Step::Enter { by }, state.and(Event::Put(by, Mark::Cached))));
        }
        let may = self.may_lower(state, by);
        if may && !state.is_demoted(by) {
            let mut next = state.clone();
            next.replicas[by].demoted = own.record;
            out.push((Step::Demote { by }, next));
        }
        if may && (state.is_demoted(by) || self.wrong == "record-lowered-before-the-flag") {
            out.push((Step::Lower { by }, state.and(Event::Put(by, Mark::Barrier))));
        }
    }

    /// Everybody who serves knows of it.
    fn may_enter(&self, state: &State, by: usize) -> bool {
        let own = state.replicas[by];
        let knows = |who: usize| match self.seen(state, by, who) {
            Seen::Barrier | Seen::Cached(_) => state.acks[by][who].applied >= own.joined,
            Seen::Nothing | Seen::Evicted(_) => true,
        };
        self.wrong == "cached-before-all-know-it" || state.others(by).all(knows)
    }

    /// Whoever began to ask the store did so when it joined, or has been lowered.
    fn may_lower(&self, state: &State, by: usize) -> bool {
        let lowered = |revision: &usize| {
            let put = |who: &usize| state.log[*revision - 1] == Event::Put(*who, Mark::Barrier);
            state.up().any(|who| put(&who) && state.replicas[who].joined != *revision)
        };
        let under_way = state.others(by).any(|who| self.demoted.contains(&who) && state.is_demoted(who));
        let spent = under_way || (1..=state.log.len()).any(|revision| lowered(&revision));
        self.demoted.contains(&by) && state.replicas[by].cached && !spent
    }

    /// What one does about another.
    fn eviction(&self, state: &State, by: usize, whom: usize, out: &mut Vec<(Step, State)>) {
        let stands = state.stored(by).1 == state.replicas[by].record;
        match (self.seen(state, by, whom), state.stored(whom)) {
            (Seen::Cached(record), (_, stored)) if self.evicted && stands && stored == record => {
                let tombstone = Event::Put(whom, Mark::Evicted);
                let event = if self.wrong == "no-tombstone" { Event::Removed(whom) } else { tombstone };
                out.push((Step::Evict { by, whom }, state.and(event)));
            }
            (Seen::Evicted(_), (Some(Mark::Evicted), _)) if stands && self.is_over(state, whom) => {
                out.push((Step::Remove { by, whom }, state.and(Event::Removed(whom))));
            }
            _ => {}
        }
    }

    /// What nobody of them does.
    fn fate(&self, state: &State, whom: usize, out: &mut Vec<(Step, State)>) {
        let (mark, _) = state.stored(whom);
        if self.deleted && mark == Some(Mark::Cached) {
            out.push((Step::DeletedByHand { whom }, state.and(Event::Deleted(whom))));
        }
        if state.replicas[whom].lease && matches!(mark, None | Some(Mark::Evicted)) {
            let mut next = state.clone();
            next.replicas[whom].lease = false;
            out.push((Step::LeaseOver { whom }, next));
        }
    }
}

impl Model for Gate {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let mut state = State::of(self.members);
        self.settle(&mut state);
        state
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let first = out.len();
        for by in state.up() {
            self.own_steps(state, by, out);
            for from in state.others(by).filter(|_| self.late.contains(&by)) {
                let mut next = state.clone();
                self.hear(&mut next, by, from);
                out.push((Step::Hear { by, from }, next));
            }
            if by == 0 || by == 2 && (self.joins || self.reloads) {
                self.eviction(state, by, 1, out);
            }
        }
        if self.members > 1 {
            self.fate(state, 1, out);
        }
        if self.joins && !state.is_up(N - 1) {
            out.push((Step::Join { by: N - 1 }, state.join(N - 1)));
        }
        out[first..].iter_mut().for_each(|(_, next)| self.settle(next));
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let cached = || state.up().filter(|who| self.reads_memory(state, *who));
        let excluded = |who: usize| state.others(who).any(|by| self.has_excluded(state, by, who));
        let behind = |who: usize| state.shown.iter().any(|shown| *shown > state.reads_up_to(who));
        let stale = |who: usize| (0..self.keys).any(|key| self.shows_less(state, who, key));
        let all: [(&'static str, bool); 4] = [
            (LEASE, !self.only_clients && cached().any(excluded)),
            (ENTRY, !self.only_clients && cached().any(|who| state.replicas[who].applied < state.replicas[who].record)),
            (GATE, !self.only_clients && cached().any(behind)),
            (CLIENTS, cached().any(stale)),
        ];
        all.into_iter().find_map(|(invariant, broken)| broken.then_some(invariant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds};

    const NONE: Gate = Gate {
        wrong: "",
        members: 1,
        joins: false,
        evicted: false,
        deleted: false,
        reloads: false,
        demoted: &[],
        writers: &[0, 2],
        writes: 0,
        keys: 1,
        late: &[],
        only_clients: false,
    };
    /// One that thinks to be alone, and one that joins.
    const ALONE: Gate = Gate { joins: true, writes: 4, late: &[0, 2], ..NONE };
    /// The first gives up its cache too, and takes it up again.
    const PAIR: Gate = Gate { joins: true, demoted: &[0], writes: 1, late: &[0, 2], ..NONE };
    /// Two, one of whom goes, and a third that joins.
    const JOIN: Gate = Gate { members: 2, joins: true, evicted: true, deleted: true, writes: 2, ..NONE };
    /// The third hears late what they know of each other.
    const HEAR: Gate = Gate { late: &[2], writes: 1, ..JOIN };
    /// Three, one of whom is evicted, and one gives up its cache and takes it up again.
    const THREE: Gate = Gate { members: 3, evicted: true, demoted: &[1], writers: &[0], writes: 4, keys: 2, ..NONE };

    /// The same, where one sees it only afterwards.
    const RELOAD: Gate = Gate { deleted: true, reloads: true, writes: 1, ..THREE };

    /// Where a mutation shows.
    fn setting(wrong: &'static str) -> Gate {
        match wrong {
            "cached-before-all-know-it" | "demoted-for-any-record" => Gate { wrong, ..PAIR },
            "reload-trusts-old-acks" => Gate { wrong, ..RELOAD },
            "joiner-takes-old-acks-of-the-evicted" => Gate { wrong, ..HEAR },
            "record-lowered-before-the-flag" => Gate { wrong, ..THREE },
            _ => Gate { wrong, ..JOIN },
        }
    }

    #[test]
    fn pair() {
        holds("gate, alone and one that joins", &ALONE);
        holds("gate, one and one that joins", &PAIR);
    }

    #[test]
    fn join() {
        holds("gate, two and one that joins", &JOIN);
        holds("gate, two and one that hears of them late", &HEAR);
    }

    #[test]
    fn three() {
        holds("gate, three", &THREE);
    }

    #[test]
    fn reload() {
        holds("gate, three and a lost watch", &RELOAD);
    }

    #[test]
    fn each_mutation_is_found() {
        breaks(MUTATIONS, setting);
    }

    #[test]
    fn clients_see_each_mutation() {
        let seen: Vec<_> = MUTATIONS.iter().map(|one| Mutation { breaks: CLIENTS, ..*one }).collect();
        breaks(&seen, |wrong| Gate { only_clients: true, ..setting(wrong) });
    }
}
