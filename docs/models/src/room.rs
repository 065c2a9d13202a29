//! The reserve: deletes in a full store (`crates/barrier/src/session/lane/full.rs`).
//!
//! A full store takes no put, so what only deletes travels without a record of a lane, and compares the record of the
//! reserve. Both lanes of a replica do so at once, and its standing task makes the reserve again. What they send may arrive
//! late or never, and so may the answers; the store fills up and is given room at any time. What is assumed: a delete is not
//! sent twice.

use crate::Mutation;
use crate::explore::Model;

const FENCE: &str = "I1: nothing is committed under a record that was changed";
const OUTCOME: &str = "I7: what was answered is not committed afterwards";
const RESERVE: &str = "I12: where there is room, a reserve stands or is about to be made";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "deletes-without-fence", breaks: FENCE, switched: false },
    Mutation { name: "unknown-told-at-once", breaks: OUTCOME, switched: false },
    Mutation { name: "reserve-compared-as-there", breaks: OUTCOME, switched: false },
    Mutation { name: "deletes-sent-twice", breaks: OUTCOME, switched: false },
    Mutation { name: "reserve-never-made-again", breaks: RESERVE, switched: false },
    Mutation { name: "spent-noted-before-it-is", breaks: RESERVE, switched: false },
    Mutation { name: "made-noted-at-the-answer", breaks: RESERVE, switched: false },
    Mutation { name: "room-noticed-by-writes-alone", breaks: RESERVE, switched: false },
];

const LANES: usize = 2;
const IN_FLIGHT: usize = 3;
/// Revision of the reserve at the start.
const START: u8 = 1;

/// The model.
#[derive(Clone, Copy)]
pub struct Room {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
    /// So many deletes.
    pub deletes: u8,
    /// So often the store fills up or is given room.
    pub turns: u8,
}

/// Store, network and replica.
#[derive(Clone, Hash)]
pub struct State {
    full: bool,
    turns: u8,
    revision: u8,
    /// `mod_revision` of the reserve; 0: there is none.
    reserve: u8,
    /// The replica's record is as it knows it.
    stands: bool,

    /// Sorted: it may arrive in any order.
    in_flight: Vec<Sent>,

    lanes: [Lane; LANES],
    /// What the replica thinks: the store takes no puts, the reserve is gone.
    short: bool,
    spent: bool,
    making: Making,

    deletes: u8,
    /// Deletes that were answered, as bits.
    answered: u8,
    /// A commit broke this.
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sent {
    Delete {
        number: u8,
        reserve: u8,
    },
    /// Deletes the reserve.
    Spend {
        reserve: u8,
    },
    /// Puts it.
    Make,
}

/// How far a delete is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    Idle,
    /// The store said that it is full.
    Asked(u8),
    Sent {
        number: u8,
        reserve: u8,
    },
    /// Its answer is lost.
    Spending {
        number: u8,
        reserve: u8,
    },
}

/// How far the standing task is with a new reserve.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Making {
    No,
    Waiting,
    /// The answer is on its way: one stands now.
    Made(bool),
}

/// What happens.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Step {
    /// The store fills up.
    Fill,
    /// Somebody makes room.
    MakeRoom,
    /// A lane has something to write: it asks the store whether that is full.
    Ask { lane: usize },
    /// It reads the reserve, and sends a delete that compares it. If there is none, it refuses the delete.
    Delete { lane: usize },
    /// It waits no longer.
    GiveUp { lane: usize },
    /// It sends a delete of the reserve.
    Spend { lane: usize },
    /// A delete arrives; its lane gets the answer, or does not.
    DeleteArrives { number: u8, answered: bool },
    /// A delete of the reserve does.
    SpendArrives { answered: bool },
    /// The standing task asks whether the store is still full.
    Notice,
    /// It sends what makes the reserve.
    Make,
    /// That arrives; there will be an answer, or not.
    MakeArrives { answered: bool },
    /// It hears so.
    MakeAnswered,
    /// It waits no longer.
    MakeLost,
    /// Somebody marks the replica as evicted.
    Evict,
    /// Somebody removes its records.
    Remove,
}

impl State {
    fn fly(&mut self, sent: Sent) {
        self.in_flight.push(sent);
        self.in_flight.sort_unstable();
    }

    fn answer(&mut self, lane: usize, number: u8) {
        self.answered |= 1 << number;
        self.lanes[lane] = Lane::Idle;
    }

    fn awaits(&self, sent: Sent) -> Option<usize> {
        self.lanes.iter().position(|lane| match (sent, *lane) {
            (Sent::Delete { number, .. }, Lane::Sent { number: own, .. }) => number == own,
            (Sent::Spend { reserve }, Lane::Spending { reserve: own, .. }) => reserve == own,
            _ => false,
        })
    }
}

impl Room {
    fn is(&self, wrong: &str) -> bool {
        self.wrong == wrong
    }

    fn lane(&self, state: &State, lane: usize, out: &mut Vec<(Step, State)>) {
        let at = |lane_is| {
            let mut next = state.clone();
            next.lanes[lane] = lane_is;
            next
        };
        let room = state.in_flight.len() < IN_FLIGHT;
        match state.lanes[lane] {
            // What there is room for goes the way of `lanes`.
            Lane::Idle if !state.full => out.push((Step::Ask { lane }, State { short: false, ..state.clone() })),
            Lane::Idle if state.deletes < self.deletes => {
                let next = State { short: true, deletes: state.deletes + 1, ..at(Lane::Asked(state.deletes)) };
                out.push((Step::Ask { lane }, next));
            }
            Lane::Asked(number) if state.reserve == 0 => {
                let mut next = State { spent: true, ..state.clone() };
                next.answer(lane, number);
                out.push((Step::Delete { lane }, next));
            }
            Lane::Asked(number) if room => {
                let reserve = state.reserve;
                let mut next = at(Lane::Sent { number, reserve });
                next.fly(Sent::Delete { number, reserve });
                if self.is("deletes-sent-twice") {
                    next.fly(Sent::Delete { number, reserve });
                }
                out.push((Step::Delete { lane }, next));
            }
            Lane::Sent { number, .. } if self.is("unknown-told-at-once") => {
                let mut next = state.clone();
                next.answer(lane, number);
                out.push((Step::GiveUp { lane }, next));
            }
            Lane::Sent { number, reserve } => {
                let spent = state.spent || self.is("spent-noted-before-it-is");
                out.push((Step::GiveUp { lane }, State { spent, ..at(Lane::Spending { number, reserve }) }));
            }
            Lane::Spending { reserve, .. } if room && !state.in_flight.contains(&Sent::Spend { reserve }) => {
                let mut next = state.clone();
                next.fly(Sent::Spend { reserve });
                out.push((Step::Spend { lane }, next));
            }
            _ => {}
        }
    }

    fn standing(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if !state.stands {
            return;
        }
        if state.spent && state.short && !self.is("room-noticed-by-writes-alone") {
            out.push((Step::Notice, State { short: state.full, ..state.clone() }));
        }
        let at_answer = self.is("made-noted-at-the-answer");
        let done = |spent| State { making: Making::No, spent, ..state.clone() };
        match state.making {
            Making::No if state.spent && !state.short && !self.is("reserve-never-made-again") => {
                if state.in_flight.len() < IN_FLIGHT {
                    // What is noted from here on is of a reserve that is spent later.
                    let mut next = State { making: Making::Waiting, spent: at_answer, ..state.clone() };
                    next.fly(Sent::Make);
                    out.push((Step::Make, next));
                }
            }
            Making::No => {}
            Making::Waiting => out.push((Step::MakeLost, done(true))),
            Making::Made(there) => out.push((Step::MakeAnswered, done(!there || state.spent && !at_answer))),
        }
    }

    /// What the store does with a delete.
    fn commit(&self, state: &mut State, number: u8, reserve: u8) -> bool {
        let fence = state.stands || self.is("deletes-without-fence");
        let compared = if self.is("reserve-compared-as-there") { state.reserve != 0 } else { state.reserve == reserve };
        if !fence || !compared {
            return false;
        }
        state.revision += 1;
        let late = state.answered & (1 << number) != 0;
        state.broken =
            [(!state.stands, FENCE), (late, OUTCOME)].into_iter().find_map(|(bad, what)| bad.then_some(what));
        true
    }

    fn arrives(&self, state: &State, at: usize, answered: bool) -> (Step, State) {
        let mut next = state.clone();
        let sent = next.in_flight.remove(at);
        let lane = next.awaits(sent).filter(|_| answered);
        match sent {
            Sent::Delete { number, reserve } => {
                let committed = self.commit(&mut next, number, reserve);
                match lane {
                    Some(lane) if committed || !next.stands => next.answer(lane, number),
                    // Certainly not applied: again, with the reserve as it is now.
                    Some(lane) => next.lanes[lane] = Lane::Asked(number),
                    None => {}
                }
                (Step::DeleteArrives { number, answered }, next)
            }
            Sent::Spend { reserve } => {
                if next.reserve == reserve {
                    (next.revision, next.reserve) = (next.revision + 1, 0);
                }
                if let Some(lane) = lane
                    && let Lane::Spending { number, .. } = next.lanes[lane]
                {
                    next.spent |= !self.is("spent-noted-before-it-is");
                    next.answer(lane, number);
                }
                (Step::SpendArrives { answered }, next)
            }
            Sent::Make => {
                let takes = next.stands && next.reserve == 0 && !next.full;
                if takes {
                    (next.revision, next.reserve) = (next.revision + 1, next.revision + 1);
                }
                if answered {
                    // A full store refuses it whether it is needed or not.
                    next.making = Making::Made(next.reserve != 0 && !next.full);
                }
                (Step::MakeArrives { answered }, next)
            }
        }
    }
}

impl Model for Room {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            full: false,
            turns: 0,
            revision: START,
            reserve: START,
            stands: true,
            in_flight: Vec::new(),
            lanes: [Lane::Idle; LANES],
            short: false,
            spent: false,
            making: Making::No,
            deletes: 0,
            answered: 0,
            broken: None,
        }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        for (at, sent) in state.in_flight.iter().enumerate() {
            out.push(self.arrives(state, at, false));
            if state.awaits(*sent).is_some() || *sent == Sent::Make && state.making == Making::Waiting {
                out.push(self.arrives(state, at, true));
            }
        }
        (0..LANES).for_each(|lane| self.lane(state, lane, out));
        self.standing(state, out);
        if state.turns < self.turns {
            let step = if state.full { Step::MakeRoom } else { Step::Fill };
            out.push((step, State { full: !state.full, turns: state.turns + 1, ..state.clone() }));
        }
        let revision = state.revision + 1;
        if state.stands {
            out.push((Step::Evict, State { revision, stands: false, ..state.clone() }));
        } else if state.reserve != 0 {
            out.push((Step::Remove, State { revision, reserve: 0, ..state.clone() }));
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let notices = !state.short || !self.is("room-noticed-by-writes-alone");
        let makes = state.spent && notices && !self.is("reserve-never-made-again");
        let busy =
            state.making != Making::No || state.in_flight.contains(&Sent::Make) || state.lanes != [Lane::Idle; LANES];
        let lost = state.stands && !state.full && state.reserve == 0 && !busy && !makes;
        state.broken.or(lost.then_some(RESERVE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds};

    #[test]
    fn deletes_go_on() {
        let model = Room { wrong: "", deletes: 3, turns: 4 };
        holds("room", &model);
        breaks(MUTATIONS, |wrong| Room { wrong, ..model });
    }
}
