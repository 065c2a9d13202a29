//! What each replica knows, and what it lets out.

use super::Gate;

/// Replicas.
pub const N: usize = 3;
/// No bound.
const ALL: usize = usize::MAX;

/// The store and the replicas.
#[derive(Clone, Hash)]
pub struct State {
    /// Changes, by revision from 1.
    pub(super) log: Vec<Event>,
    pub(super) replicas: [Replica; N],
    /// What the first knows of the second.
    pub(super) acks: [[Ack; N]; N],
    /// By key: the newest revision of it that anybody was shown.
    pub(super) shown: [usize; 2],
}

/// One revision.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Write {
        key: usize,
        by: usize,
    },
    /// The record of a replica.
    Put(usize, Mark),
    /// It is gone, its lanes are not.
    Deleted(usize),
    /// Both are gone.
    Removed(usize),
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    Barrier,
    Cached,
    Evicted,
}

/// What a replica knows of itself.
#[derive(Clone, Copy, Hash)]
pub struct Replica {
    pub applied: usize,
    /// A write that it answered before that, as it was alone: its reads wait for this.
    pub answered: usize,
    /// Where it began; 0: it has not.
    pub joined: usize,
    /// It has lost its watch after the first of these revisions, and read everything anew at the second; 0: it has not.
    pub reloaded: (usize, usize),
    /// Its record, and whether that says `cached`.
    pub record: usize,
    pub cached: bool,
    /// The record under which it has given up its cache.
    pub demoted: usize,
    /// Its last heartbeat that held is young enough.
    pub lease: bool,
}

/// What was heard of a replica under one of its records.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ack {
    pub record: usize,
    pub applied: usize,
    pub demoted: bool,
}

/// What a replica thinks of another as of what it has applied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Barrier,
    /// Since this revision.
    Cached(usize),
    /// Having been cached since this revision; 0: nobody knows since when.
    Evicted(usize),
}

impl State {
    pub(super) fn of(members: usize) -> Self {
        let none = Replica {
            applied: 0,
            answered: 0,
            joined: 0,
            reloaded: (0, 0),
            record: 0,
            cached: false,
            demoted: 0,
            lease: false,
        };
        let mut replicas = [none; N];
        for (who, replica) in replicas.iter_mut().take(members).enumerate() {
            let record = who + 1;
            *replica = Replica { applied: members, joined: record, record, cached: true, lease: true, ..none };
        }
        let log = (0..members).map(|who| Event::Put(who, Mark::Cached)).collect();
        Self { log, replicas, acks: [[Ack::default(); N]; N], shown: [0; 2] }
    }

    pub(super) fn and(&self, event: Event) -> Self {
        let mut next = self.clone();
        next.log.push(event);
        next
    }

    pub(super) fn join(&self, by: usize) -> Self {
        let mut next = self.and(Event::Put(by, Mark::Barrier));
        let now = next.log.len();
        next.replicas[by] = Replica { applied: now, joined: now, record: now, lease: true, ..next.replicas[by] };
        next
    }

    pub(super) fn is_up(&self, who: usize) -> bool {
        self.replicas[who].joined != 0
    }

    pub(super) fn up(&self) -> impl Iterator<Item = usize> {
        (0..N).filter(|who| self.is_up(*who))
    }

    pub(super) fn others(&self, than: usize) -> impl Iterator<Item = usize> {
        self.up().filter(move |who| *who != than)
    }

    pub(super) fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.log.iter().filter(|event| which(event)).count()
    }

    pub(super) fn is_demoted(&self, who: usize) -> bool {
        self.replicas[who].demoted == self.replicas[who].record
    }

    /// The record in the store, and its `mod_revision`.
    pub(super) fn stored(&self, who: usize) -> (Option<Mark>, usize) {
        match self.last(who, self.log.len()) {
            Some((Event::Put(_, mark), revision)) => (Some(mark), revision),
            _ => (None, 0),
        }
    }

    /// The last change of a record up to a revision.
    fn last(&self, who: usize, until: usize) -> Option<(Event, usize)> {
        (1..=until).rev().map(|revision| (self.log[revision - 1], revision)).find(|(event, _)| event.of(who))
    }

    /// What the watch makes of it. As `Roster::apply`.
    fn follow(&self, mut seen: Seen, who: usize, after: usize, until: usize) -> Seen {
        for revision in after + 1..=until {
            let event = self.log[revision - 1];
            if event.of(who) {
                seen = match (event, seen) {
                    (Event::Put(_, Mark::Barrier), _) => Seen::Barrier,
                    (Event::Put(_, Mark::Cached), _) => Seen::Cached(revision),
                    (_, Seen::Cached(since)) => Seen::Evicted(since),
                    (Event::Put(_, Mark::Evicted), _) => Seen::Evicted(0),
                    _ => Seen::Nothing,
                };
            }
        }
        seen
    }

    fn writes(&self, revision: usize, key: usize) -> bool {
        matches!(self.log[revision - 1], Event::Write { key: written, .. } if written == key)
    }

    /// Its reads show everything up to here.
    pub(super) fn reads_up_to(&self, who: usize) -> usize {
        self.replicas[who].applied.max(self.replicas[who].answered)
    }
}

impl Event {
    fn of(self, replica: usize) -> bool {
        match self {
            Self::Write { .. } => false,
            Self::Put(who, _) | Self::Deleted(who) | Self::Removed(who) => who == replica,
        }
    }
}

impl Ack {
    /// As `Ack::join` in `acks.rs`.
    fn join(&mut self, other: Self, any_record: bool) {
        if other.record > self.record {
            *self = Self { demoted: other.demoted || (any_record && self.demoted), ..other };
        } else if other.record == self.record {
            self.applied = self.applied.max(other.applied);
            self.demoted |= other.demoted;
        }
    }

    /// As `Acks::shows` there: what a replica certainly shows that is cached since `record`.
    fn shows(self, record: usize) -> usize {
        match self.record.cmp(&record) {
            std::cmp::Ordering::Greater => ALL,
            std::cmp::Ordering::Equal if self.demoted => ALL,
            std::cmp::Ordering::Equal => self.applied.max(record),
            std::cmp::Ordering::Less => record,
        }
    }
}

impl Gate {
    /// The roster: `by` loaded it when it joined, and its watch has told since; or it had to load it anew.
    pub(super) fn seen(&self, state: &State, by: usize, who: usize) -> Seen {
        let Replica { joined, reloaded, applied, .. } = state.replicas[by];
        let (lost, loaded) = reloaded;
        let first = self.load(state, who, joined);
        if loaded == 0 {
            return state.follow(first, who, joined, applied);
        }
        let before = state.follow(first, who, joined, lost);
        // As `Roster::succeed`.
        let anew = match (before, self.load(state, who, loaded)) {
            (Seen::Evicted(since), Seen::Evicted(_)) => Seen::Evicted(since),
            (Seen::Cached(since), Seen::Evicted(_)) if self.wrong == "reload-trusts-old-acks" => Seen::Evicted(since),
            (Seen::Cached(_) | Seen::Evicted(_), Seen::Nothing) => Seen::Evicted(0),
            (_, anew) => anew,
        };
        state.follow(anew, who, loaded, applied)
    }

    /// What the records tell at a revision.
    fn load(&self, state: &State, who: usize, at: usize) -> Seen {
        match state.last(who, at) {
            Some((Event::Put(_, Mark::Barrier), _)) => Seen::Barrier,
            Some((Event::Put(_, Mark::Cached), revision)) => Seen::Cached(revision),
            Some((Event::Put(_, Mark::Evicted), _)) => Seen::Evicted(0),
            Some((Event::Deleted(_), _)) if self.wrong != "joiner-ignores-lanes-without-member" => Seen::Evicted(0),
            _ => Seen::Nothing,
        }
    }

    /// No cached read of an evicted one can be in time any more.
    pub(super) fn is_over(&self, state: &State, who: usize) -> bool {
        !state.replicas[who].lease
    }

    /// As `Peer::shows` in `roster.rs`.
    fn shows(&self, state: &State, by: usize, who: usize) -> usize {
        let ack = state.acks[by][who];
        match self.seen(state, by, who) {
            Seen::Nothing | Seen::Barrier => ALL,
            Seen::Cached(since) => ack.shows(since),
            Seen::Evicted(_) if self.is_over(state, who) => ALL,
            // Whether it gave up its cache before or after it took it last is not known, but what is applied only grows.
            Seen::Evicted(0) if self.wrong != "joiner-takes-old-acks-of-the-evicted" => ack.applied,
            Seen::Evicted(since) => ack.shows(since),
        }
    }

    /// How far answers may go.
    fn gate(&self, state: &State, by: usize) -> usize {
        let alone = state.others(by).all(|who| self.seen(state, by, who) == Seen::Nothing);
        let shown = state.others(by).map(|who| self.shows(state, by, who)).min().unwrap_or(ALL);
        // Alone, a write is answered before the watch shows it.
        if alone { ALL } else { shown.min(state.replicas[by].applied) }
    }

    /// `cached_ok`.
    pub(super) fn reads_memory(&self, state: &State, who: usize) -> bool {
        let own = state.replicas[who];
        let entered = own.applied >= own.record || self.wrong == "cached-before-its-record-is-applied";
        own.cached && entered && !state.is_demoted(who) && own.lease
    }

    /// `by` answers without waiting for `who`, although it has seen the record under which that one reads from memory.
    pub(super) fn has_excluded(&self, state: &State, by: usize, who: usize) -> bool {
        state.replicas[by].applied >= state.replicas[who].record && self.shows(state, by, who) == ALL
    }

    /// A read there shows less of a key than somebody was shown before.
    pub(super) fn shows_less(&self, state: &State, who: usize, key: usize) -> bool {
        let at = (1..=state.reads_up_to(who)).rev().find(|revision| state.writes(*revision, key)).unwrap_or(0);
        at < state.shown[key] && (at <= self.gate(state, who) || self.reads_past_gate(state, who))
    }

    fn reads_past_gate(&self, state: &State, who: usize) -> bool {
        match self.wrong {
            "gate-writes-only" => true,
            "barrier-reads-past-gate" => !self.reads_memory(state, who),
            _ => false,
        }
    }

    /// `by` hears what `from` knows of itself and of others.
    pub(super) fn hear(&self, state: &mut State, by: usize, from: usize) {
        if self.seen(state, by, from) == Seen::Nothing {
            return; // a stranger
        }
        let own = state.replicas[from];
        let mut told = state.acks[from];
        told[from] = Ack { record: own.record, applied: own.applied, demoted: state.is_demoted(from) };
        for who in (0..N).filter(|who| *who != by) {
            state.acks[by][who].join(told[who], self.wrong == "demoted-for-any-record");
        }
    }

    /// All is heard that is heard at once, all is shown that may be.
    pub(super) fn settle(&self, state: &mut State) {
        for by in state.up().collect::<Vec<_>>() {
            for from in state.others(by).filter(|_| !self.late.contains(&by)).collect::<Vec<_>>() {
                self.hear(state, by, from);
            }
        }
        for by in state.up().collect::<Vec<_>>() {
            let (gate, past) = (self.gate(state, by), self.reads_past_gate(state, by));
            let applied = state.replicas[by].applied;
            for (at, event) in state.log.iter().enumerate() {
                let Event::Write { key, by: writer } = *event else { continue };
                let revision = at + 1;
                if revision > applied && revision <= gate && writer == by {
                    state.replicas[by].answered = revision;
                } else if revision > applied || (revision > gate && !past) {
                    continue;
                }
                state.shown[key] = state.shown[key].max(revision);
            }
        }
    }
}
