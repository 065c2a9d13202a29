//! One lane: batches, lost answers, cancellations (`crates/barrier/src/session/lane.rs`, `lane/outcome.rs`, `queue.rs`).
//!
//! A replica has two requests, `if y is absent put x` and `if x is absent put y`, and sends them until it knows what became
//! of them. What it sends may arrive late, twice, or never, and so may the answers. Meanwhile others rotate the key term,
//! evict the replica, and remove its records.

use crate::Mutation;
use crate::explore::Model;

const FENCE: &str = "I1: nothing is committed under a record that was changed";
const OUTCOME: &str = "I7: what was reported not committed never commits";
const SERIAL: &str = "I8: a batch equals its transactions one after the other";
const TERM: &str = "I9: a value is of the term in force when it is committed";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "fence-create-revision", breaks: FENCE, switched: true },
    Mutation { name: "resolve-by-reading", breaks: OUTCOME, switched: true },
    Mutation { name: "lane-compared-at-zero", breaks: OUTCOME, switched: true },
    Mutation { name: "no-conflict-rule", breaks: SERIAL, switched: true },
    Mutation { name: "generation-not-compared", breaks: TERM, switched: false },
    Mutation { name: "absent-lane-taken-for-cancelled", breaks: OUTCOME, switched: false },
];

const BATCHES: u8 = 3;
const IN_FLIGHT: usize = 3;
/// Revisions at the start. The replica's own record never changes: its revision is its name here.
const MEMBER: u8 = 1;
const GENERATION: u8 = 2;
const LANE: u8 = 3;

/// The model.
pub struct Lanes {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
}

/// Store, network and replica.
#[derive(Clone, Hash)]
pub struct State {
    revision: u8,
    /// `mod_revision` of the member's record; 0: there is none.
    member: u8,
    /// `mod_revision` of `gen`, which names the term too.
    generation: u8,
    /// `mod_revision` of the lane's record, and the batch that wrote it (0: none).
    lane: (u8, u8),
    /// `mod_revision` of x and y.
    keys: [u8; 2],

    /// Sorted: it may arrive in any order.
    in_flight: Vec<Sent>,

    phase: Phase,
    known_generation: u8,
    known_lane: Option<u8>,
    /// Requests without an outcome, as bits.
    waiting: u8,
    batch: Batch,

    /// Batches, as bits.
    committed: u8,
    reported_lost: u8,
    /// A commit broke this.
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Batch {
    number: u8,
    generation: u8,
    lane: u8,
    /// Its transactions, as bits.
    inner: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sent {
    Batch(Batch),
    /// Overwrites the lane's record, or removes it (all that a full store lets do).
    Cancel {
        lane: u8,
        delete: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Waits for the answer to the batch.
    Sent,
    /// Its answer is lost.
    Resolving,
    /// It found its record changed: it joins again under a new id, which is another story.
    Evicted,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Step {
    /// The replica sends these requests as a batch; the network carries so many copies.
    Send { batch: u8, requests: u8, copies: u8 },
    /// Something in flight arrives; the replica gets the answer, or does not.
    Arrives { cancel: bool, answered: bool },
    /// The replica waits no longer.
    GiveUp,
    /// It sends a cancellation.
    Cancel { delete: bool },
    /// It looks at the lane's record.
    Look,
    /// It makes the lane's record anew.
    MakeLane,
    /// Its watch shows the new term.
    LearnTerm,
    /// Somebody rotates the term.
    Rotate,
    /// Somebody marks it as evicted.
    Evict,
    /// Somebody removes its records.
    Remove,
}

impl State {
    fn lane_stands(&self) -> bool {
        self.lane.0 != 0
    }

    fn fly(&mut self, sent: Sent) {
        self.in_flight.push(sent);
        self.in_flight.sort_unstable();
    }

    /// The replica waits for the answer to this.
    fn awaits(&self, sent: Sent) -> bool {
        match sent {
            Sent::Batch(batch) => self.phase == Phase::Sent && batch == self.batch,
            Sent::Cancel { lane, .. } => self.phase == Phase::Resolving && lane == self.batch.lane,
        }
    }

    /// The outcome of the batch is that it has none.
    fn lost(&mut self) {
        self.reported_lost |= 1 << self.batch.number;
        self.phase = if self.member == MEMBER { Phase::Idle } else { Phase::Evicted };
    }

    fn done(&mut self) {
        self.waiting &= !self.batch.inner;
        self.known_lane = Some(self.lane.0);
        self.phase = Phase::Idle;
    }
}

impl Lanes {
    /// What the store does with a batch.
    fn commit(&self, state: &mut State, batch: Batch) -> bool {
        let fence = match self.wrong {
            "fence-create-revision" => state.member != 0,
            _ => state.member == MEMBER,
        };
        let term = batch.generation == state.generation || self.wrong == "generation-not-compared";
        if !fence || !term || batch.lane != state.lane.0 {
            return false;
        }
        state.revision += 1;
        state.lane = (state.revision, batch.number);
        state.committed |= 1 << batch.number;
        let before = state.keys.map(|key| key != 0);
        let both = [!before[1], !before[0]];
        let held = [0, 1].map(|inner| batch.inner & (1 << inner) != 0 && both[inner]);
        for (key, _) in held.iter().enumerate().filter(|(_, held)| **held) {
            state.keys[key] = state.revision;
        }
        state.broken = [
            (state.member != MEMBER, FENCE),
            (!is_serial(before, batch.inner, held), SERIAL),
            (batch.generation != state.generation, TERM),
        ]
        .into_iter()
        .find_map(|(broken, invariant)| broken.then_some(invariant));
        true
    }

    /// The lane's record is not as it was before the batch: what that says of the batch.
    fn found(&self, state: &mut State) {
        let by = state.lane.1;
        if by == state.batch.number {
            return state.done();
        }
        // Absent: we removed it to cancel, or somebody removed all that is ours, and only the key's history tells what came
        // before that.
        let by_others = !state.lane_stands() && state.member != MEMBER;
        let committed = state.committed & (1 << state.batch.number) != 0;
        if by_others && committed && self.wrong != "absent-lane-taken-for-cancelled" {
            state.done();
            state.phase = Phase::Evicted;
        } else {
            state.lost();
            state.known_lane = state.lane_stands().then_some(state.lane.0);
        }
    }

    fn arrives(&self, state: &State, at: usize, answered: bool) -> State {
        let mut next = state.clone();
        match next.in_flight.remove(at) {
            Sent::Batch(batch) => {
                let committed = self.commit(&mut next, batch);
                if answered && committed {
                    next.done();
                } else if answered && next.lane.0 == batch.lane {
                    // Member or generation: neither comes back.
                    next.lost();
                } else if answered {
                    self.found(&mut next);
                }
            }
            Sent::Cancel { lane, delete } => {
                let cancelled = next.lane.0 == lane;
                if cancelled {
                    next.revision += 1;
                    next.lane = (if delete { 0 } else { next.revision }, 0);
                }
                if answered && cancelled {
                    next.known_lane = (!delete).then_some(next.lane.0);
                    next.lost();
                } else if answered {
                    self.found(&mut next);
                }
            }
        }
        next
    }

    fn replica(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if state.phase == Phase::Idle && state.known_generation != state.generation {
            out.push((Step::LearnTerm, State { known_generation: state.generation, ..state.clone() }));
        }
        match state.phase {
            Phase::Idle if state.waiting != 0 && state.batch.number < BATCHES => self.send(state, out),
            Phase::Sent => out.push((Step::GiveUp, State { phase: Phase::Resolving, ..state.clone() })),
            Phase::Resolving if self.wrong == "resolve-by-reading" => {
                let mut next = state.clone();
                if state.lane.0 == state.batch.lane {
                    next.lost()
                } else {
                    self.found(&mut next)
                }
                out.push((Step::Look, next));
            }
            Phase::Resolving if state.in_flight.len() < IN_FLIGHT => {
                for delete in [false, true] {
                    let mut next = state.clone();
                    next.fly(Sent::Cancel { lane: state.batch.lane, delete });
                    out.push((Step::Cancel { delete }, next));
                }
            }
            _ => {}
        }
    }

    fn send(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let lane = match state.known_lane {
            Some(lane) => lane,
            None if self.wrong == "lane-compared-at-zero" => 0,
            None => {
                let mut next = state.clone();
                if next.member != MEMBER {
                    next.phase = Phase::Evicted;
                } else if !next.lane_stands() {
                    next.revision += 1;
                    next.lane = (next.revision, 0);
                }
                next.known_lane = Some(next.lane.0);
                return out.push((Step::MakeLane, next));
            }
        };
        // The two requests meet each other.
        let first = state.waiting & state.waiting.wrapping_neg();
        let inner = if self.wrong == "no-conflict-rule" { state.waiting } else { first };
        let batch = Batch { number: state.batch.number + 1, generation: state.known_generation, lane, inner };
        let mut next = State { phase: Phase::Sent, batch, ..state.clone() };
        for copies in 1..=2 {
            if next.in_flight.len() < IN_FLIGHT {
                next.fly(Sent::Batch(batch));
                out.push((Step::Send { batch: batch.number, requests: inner, copies }, next.clone()));
            }
        }
    }
}

/// Whether some order of the transactions has this outcome.
fn is_serial(before: [bool; 2], inner: u8, held: [bool; 2]) -> bool {
    [[0, 1], [1, 0]].into_iter().any(|order| {
        let (mut keys, mut outcome) = (before, [false; 2]);
        for one in order.into_iter().filter(|one| inner & (1 << one) != 0) {
            outcome[one] = !keys[1 - one];
            keys[one] |= outcome[one];
        }
        outcome == held
    })
}

impl Model for Lanes {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            revision: LANE,
            member: MEMBER,
            generation: GENERATION,
            lane: (LANE, 0),
            keys: [0; 2],
            in_flight: Vec::new(),
            phase: Phase::Idle,
            known_generation: GENERATION,
            known_lane: Some(LANE),
            waiting: 3,
            batch: Batch { number: 0, generation: 0, lane: 0, inner: 0 },
            committed: 0,
            reported_lost: 0,
            broken: None,
        }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        for (at, sent) in state.in_flight.iter().enumerate() {
            let cancel = matches!(sent, Sent::Cancel { .. });
            out.push((Step::Arrives { cancel, answered: false }, self.arrives(state, at, false)));
            if state.awaits(*sent) {
                out.push((Step::Arrives { cancel, answered: true }, self.arrives(state, at, true)));
            }
        }
        self.replica(state, out);
        let revision = state.revision + 1;
        if state.generation == GENERATION {
            out.push((Step::Rotate, State { revision, generation: revision, ..state.clone() }));
        }
        if state.member == MEMBER {
            out.push((Step::Evict, State { revision, member: revision, ..state.clone() }));
        } else if state.member != 0 {
            out.push((Step::Remove, State { revision, member: 0, lane: (0, 0), ..state.clone() }));
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        state.broken.or((state.committed & state.reported_lost != 0).then_some(OUTCOME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds};

    #[test]
    fn what_is_reported_is_so() {
        holds("lanes", &Lanes { wrong: "" });
        breaks(MUTATIONS, |wrong| Lanes { wrong });
    }
}
