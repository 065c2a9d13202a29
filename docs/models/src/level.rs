//! The feature level: replicas of different builds over one store (`crates/barrier/src/level.rs`, `session/level.rs`).
//!
//! Each serves a range of levels. It unseals, writes, rotates, reads, is evicted and joins anew; its watch shows what happens
//! late. The level is raised by who sees nobody that does not serve a higher one, which may be long ago. What is sent may
//! arrive late or never. The hour without a change is left out: it is there for people. An order to seal is obeyed in the same
//! way (`session/order.rs`).

use crate::Mutation;
use crate::explore::Model;

const WRITERS: &str = "I13: nobody joins or writes a store of a level that it does not serve";
const READERS: &str = "I14: nobody is shown what is of a level that it does not serve";
const GROWS: &str = "I15: the level does not fall";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "unsealed-at-any-level", breaks: WRITERS, switched: false },
    Mutation { name: "join-ignores-the-level", breaks: WRITERS, switched: false },
    Mutation { name: "batch-ignores-the-level", breaks: WRITERS, switched: false },
    Mutation { name: "obeyed-after-its-keys", breaks: WRITERS, switched: false },
    Mutation { name: "looked-before-the-keys", breaks: WRITERS, switched: false },
    Mutation { name: "joined-anew-without-a-look", breaks: WRITERS, switched: false },
    Mutation { name: "shown-before-it-is-obeyed", breaks: READERS, switched: false },
    Mutation { name: "no-look-after-the-read", breaks: READERS, switched: false },
    Mutation { name: "rotation-ignores-the-level", breaks: GROWS, switched: false },
];

/// Replicas.
const N: usize = 3;

/// The model.
#[derive(Clone, Copy)]
pub struct Levels {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
    /// Oldest and newest level that each serves.
    pub serves: [(u8, u8); N],
    /// Who is there at the start.
    pub members: usize,
    /// These write, rotate and read.
    pub busy: &'static [usize],
    /// Changes of these records after the start.
    pub revisions: usize,
}

/// The store and the replicas.
#[derive(Clone, Hash)]
pub struct State {
    /// Changes, by revision from 1.
    log: Vec<Event>,
    replicas: [Replica; N],
    /// A commit or an answer broke this.
    broken: Option<&'static str>,
}

/// One revision.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    /// The generation record, with this level.
    Generation(u8),
    /// The record of a replica.
    Put(usize),
    /// It is gone.
    Gone(usize),
}

/// What a replica knows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Replica {
    phase: Phase,
    /// Its record.
    record: usize,
    /// Everything up to here is shown to readers.
    applied: usize,
    /// Its keys are of this generation record.
    keys: usize,
    /// It has met a level that it does not serve.
    obeyed: bool,
    /// A request that has passed the first of its two steps.
    write: Option<Loaded>,
    read: bool,
    sent: Option<Sent>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    Sealed,
    /// It has read the keys of this generation record.
    Unsealing(usize),
    Member,
}

/// A request that is about to be sent, with the keys of this generation record.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Loaded {
    rotates: bool,
    keys: usize,
}

/// What is under way to the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sent {
    rotates: bool,
    record: usize,
    keys: usize,
}

/// What happens. Replicas are numbered from 0.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Step {
    /// A sealed replica reads the keys and the level.
    Unseal { by: usize },
    /// It puts its record.
    Join { by: usize },
    /// The keyring was replaced meanwhile: it begins anew.
    JoinRefused { by: usize },
    /// It seals itself, and leaves.
    Leave { by: usize },
    /// Its watch meets a level that it does not serve.
    Obey { by: usize },
    /// Its watch has new keys.
    TakeKeys { by: usize },
    /// Readers can see the next revision.
    Show { by: usize, revision: usize },
    /// A write, or a rotation of the keys, takes the keys.
    Load { by: usize, rotates: bool },
    /// It is sent, or refused.
    Send { by: usize, rotates: bool },
    /// It arrives.
    Arrives { by: usize, rotates: bool },
    /// A read makes sure that memory may be read.
    Read { by: usize },
    /// It reads and is answered, or refused.
    Answer { by: usize },
    /// A replica raises the level.
    Raise { by: usize, to: u8 },
    /// Somebody evicts a replica, and removes its record.
    Evict { whom: usize },
    /// It finds that, and puts a new record.
    JoinAnew { by: usize },
}

impl State {
    fn and(&self, event: Event) -> Self {
        let mut next = self.clone();
        next.log.push(event);
        next
    }

    fn with(&self, by: usize, replica: Replica) -> Self {
        let mut next = self.clone();
        next.replicas[by] = replica;
        next
    }

    /// Revision and level of the generation record as of a revision.
    fn generation(&self, at: usize) -> (usize, u8) {
        let mut levels = self.log[..at].iter().enumerate().filter_map(|(before, event)| match event {
            Event::Generation(level) => Some((before + 1, *level)),
            _ => None,
        });
        levels.next_back().unwrap_or_default()
    }

    /// Revision of a replica's record as of a revision; 0: there is none.
    fn record(&self, of: usize, at: usize) -> usize {
        let last =
            self.log[..at].iter().rposition(|event| matches!(event, Event::Put(who) | Event::Gone(who) if *who == of));
        last.filter(|before| self.log[*before] == Event::Put(of)).map_or(0, |before| before + 1)
    }

    fn newest(&self) -> usize {
        self.log.len()
    }

    fn stands(&self, by: usize) -> bool {
        self.record(by, self.newest()) == self.replicas[by].record
    }
}

impl Levels {
    fn is(&self, wrong: &str) -> bool {
        self.wrong == wrong
    }

    fn serves(&self, by: usize, level: u8) -> bool {
        (self.serves[by].0..=self.serves[by].1).contains(&level)
    }

    /// A replica changes the store. A write is nothing that others need to see here.
    fn commit(&self, state: &State, by: usize, event: Option<Event>) -> State {
        let (_, level) = state.generation(state.newest());
        let mut next = state.clone();
        next.log.extend(event);
        let falls = matches!(event, Some(Event::Generation(to)) if to < level);
        next.broken = match () {
            () if !self.serves(by, level) => Some(WRITERS),
            () if falls => Some(GROWS),
            () => None,
        };
        next
    }

    fn sealed(&self, state: &State, by: usize, out: &mut Vec<(Step, State)>) {
        let own = state.replicas[by];
        let newest = state.newest();
        let (generation, level) = state.generation(newest);
        match own.phase {
            Phase::Sealed if self.serves(by, level) || self.is("unsealed-at-any-level") => {
                out.push((Step::Unseal { by }, state.with(by, Replica { phase: Phase::Unsealing(generation), ..own })));
            }
            Phase::Unsealing(keys) if keys == generation || self.is("join-ignores-the-level") => {
                let mut next = self.commit(state, by, Some(Event::Put(by)));
                let joined = next.newest();
                let (phase, sent) = (Phase::Member, own.sent);
                next.replicas[by] =
                    Replica { phase, record: joined, applied: joined, keys, sent, ..Replica::default() };
                out.push((Step::Join { by }, next));
            }
            Phase::Unsealing(_) => {
                out.push((Step::JoinRefused { by }, state.with(by, Replica { phase: Phase::Sealed, ..own })));
            }
            _ => {}
        }
    }

    /// The watch: orders first, then keys, then what readers see.
    fn watch(&self, state: &State, by: usize, out: &mut Vec<(Step, State)>) {
        let own = state.replicas[by];
        if own.applied == state.newest() {
            return;
        }
        let revision = own.applied + 1;
        let (generation, level) = state.generation(revision);
        let goes_on = own.obeyed || self.serves(by, level);
        let obey = (Step::Obey { by }, Replica { obeyed: true, ..own });
        let take = (Step::TakeKeys { by }, Replica { keys: generation, ..own });
        let show = (Step::Show { by, revision }, Replica { applied: revision, ..own });
        let fresh = own.keys >= generation;
        let (step, next) = match self.wrong {
            "obeyed-after-its-keys" if !fresh => take,
            "shown-before-it-is-obeyed" => show,
            _ if !goes_on => obey,
            _ if !fresh => take,
            _ => show,
        };
        out.push((step, state.with(by, next)));
    }

    fn requests(&self, state: &State, by: usize, out: &mut Vec<(Step, State)>) {
        let own = state.replicas[by];
        let first = self.is("looked-before-the-keys");
        match own.write {
            None if own.sent.is_none() && !(first && own.obeyed) => {
                for rotates in [false, true] {
                    let write = Some(Loaded { rotates, keys: own.keys });
                    out.push((Step::Load { by, rotates }, state.with(by, Replica { write, ..own })));
                }
            }
            Some(Loaded { rotates, keys }) => {
                let keys = if first { own.keys } else { keys };
                let goes = first || !own.obeyed;
                let sent = goes.then_some(Sent { rotates, record: own.record, keys });
                out.push((Step::Send { by, rotates }, state.with(by, Replica { write: None, sent, ..own })));
            }
            None => {}
        }
        match own.read {
            false if !own.obeyed => out.push((Step::Read { by }, state.with(by, Replica { read: true, ..own }))),
            false => {}
            true => {
                let mut next = state.with(by, Replica { read: false, ..own });
                let answered = !own.obeyed || self.is("no-look-after-the-read");
                let (_, level) = state.generation(own.applied);
                next.broken = (answered && !self.serves(by, level)).then_some(READERS);
                out.push((Step::Answer { by }, next));
            }
        }
    }

    fn standing(&self, state: &State, by: usize, out: &mut Vec<(Step, State)>) {
        let own = state.replicas[by];
        let newest = state.newest();
        let (generation, level) = state.generation(newest);
        let left = Replica { sent: own.sent, ..Replica::default() };
        let without = if state.stands(by) { state.and(Event::Gone(by)) } else { state.clone() };
        out.push((Step::Leave { by }, without.with(by, left)));
        if own.keys != generation {
            return;
        }
        let look = !own.obeyed || self.is("joined-anew-without-a-look");
        if !state.stands(by) && look {
            let mut next = self.commit(state, by, Some(Event::Put(by)));
            next.replicas[by].record = next.newest();
            out.push((Step::JoinAnew { by }, next));
        }
        // Whom it sees, who may have come or gone long ago; the records are compared.
        let seen = |who: &usize| state.record(*who, own.applied) != 0;
        let unchanged = |who: usize| state.record(who, own.applied) == state.record(who, newest);
        let common = (0..N).filter(seen).map(|who| self.serves[who].1).min().unwrap_or(0).min(self.serves[by].1);
        let serve = (0..N).filter(seen).chain([by]).all(|who| self.serves(who, common));
        if state.stands(by) && common > level && serve && (0..N).filter(seen).all(unchanged) {
            out.push((Step::Raise { by, to: common }, self.commit(state, by, Some(Event::Generation(common)))));
        }
    }

    /// What a replica has sent still holds when it reaches the store.
    fn holds(&self, state: &State, by: usize, sent: Sent) -> bool {
        let (generation, _) = state.generation(state.newest());
        let ignores = self.is(if sent.rotates { "rotation-ignores-the-level" } else { "batch-ignores-the-level" });
        sent.record == state.record(by, state.newest()) && (sent.keys == generation || ignores)
    }

    fn arrives(&self, state: &State, by: usize, out: &mut Vec<(Step, State)>) {
        if let Some(sent @ Sent { rotates, keys, .. }) = state.replicas[by].sent
            && self.holds(state, by, sent)
        {
            let event = rotates.then(|| Event::Generation(state.generation(keys).1));
            let mut next = self.commit(state, by, event);
            next.replicas[by].sent = None;
            out.push((Step::Arrives { by, rotates }, next));
        }
    }
}

impl Model for Levels {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let mut log = vec![Event::Generation(1)];
        log.extend((0..self.members).map(Event::Put));
        let replica =
            |record| Replica { phase: Phase::Member, record, applied: self.members + 1, keys: 1, ..Replica::default() };
        let replicas = std::array::from_fn(|by| if by < self.members { replica(by + 2) } else { Replica::default() });
        State { log, replicas, broken: None }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        for by in 0..N {
            self.arrives(state, by, out);
            self.sealed(state, by, out);
            if state.replicas[by].phase == Phase::Member {
                self.watch(state, by, out);
                if self.busy.contains(&by) {
                    self.requests(state, by, out);
                }
                self.standing(state, by, out);
            }
            if state.record(by, state.newest()) != 0 {
                out.push((Step::Evict { whom: by }, state.and(Event::Gone(by))));
            }
        }
        let most = self.members + 1 + self.revisions;
        out.retain(|(_, next)| next.newest() <= most);
        for (_, next) in out.iter_mut() {
            for by in 0..N {
                // No revision comes back: what does not hold now never will.
                let sent = next.replicas[by].sent.filter(|sent| self.holds(next, by, *sent));
                next.replicas[by].sent = sent;
            }
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        state.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds};

    /// A new build, an old one that goes and comes, and one that serves none of these levels.
    const PAIR: Levels =
        Levels { wrong: "", serves: [(1, 2), (1, 1), (9, 9)], members: 2, busy: &[0, 1], revisions: 4 };
    /// Two new ones, who may both raise it.
    const UPGRADE: Levels = Levels { serves: [(1, 2), (1, 2), (1, 1)], members: 3, busy: &[2], revisions: 4, ..PAIR };
    /// Three builds, the last of which does not serve the first level.
    const CHAIN: Levels = Levels { serves: [(1, 2), (2, 3), (1, 1)], members: 1, busy: &[0], revisions: 5, ..PAIR };

    #[test]
    fn nobody_acts_at_a_level_that_it_does_not_serve() {
        holds("level, two builds", &PAIR);
        holds("level, two of the new build", &UPGRADE);
        holds("level, three builds", &CHAIN);
    }

    #[test]
    fn each_mutation_is_found() {
        breaks(MUTATIONS, |wrong| Levels { wrong, ..PAIR });
    }
}
