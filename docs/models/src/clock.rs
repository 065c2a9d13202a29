//! How long an evicted replica counts, by clocks that differ (`session/heartbeat.rs`, `session/roster.rs`).
//!
//! P reads from memory until `D` after the *send* of its last heartbeat that held, by its own clock. W counts it until `D'`
//! after its watch has shown the eviction, by its own. Each clock may go a tenth fast or slow, from moment to moment.

use crate::Mutation;
use crate::explore::Model;

const LEASE: &str = "I3: who is not counted any more does not read from memory";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "short-wait-after-eviction", breaks: LEASE, switched: true },
    Mutation { name: "confirmed-at-the-answer", breaks: LEASE, switched: false },
];

/// `CONFIRMED_FOR` of `session/reading.rs`, in milliseconds.
pub const D: u16 = 3000;
/// `COUNTED_FOR` of `session/roster.rs`.
pub const WAIT: u16 = 3800;
/// What a clock that is slow, or fast, counts for a fifth of a second.
const RATES: [u16; 2] = [180, 220];

/// The model.
pub struct Clocks {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
}

/// Times are milliseconds that have passed by the clock of whom they belong to.
#[derive(Clone, Copy, Hash)]
pub struct State {
    /// P: since the send of the last heartbeat that it knows held.
    confirmed: u16,
    /// P: since the send of the one that is under way.
    beat: Option<u16>,
    /// That has reached the store before the eviction.
    held: bool,
    evicted: bool,
    /// W: since its watch showed the eviction.
    seen: Option<u16>,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Step {
    /// A fifth of a second passes; P's clock and W's count so much.
    Time { p: u16, w: u16 },
    /// P sends a heartbeat.
    Beat,
    /// The store takes it.
    Held,
    /// Its answer reaches P.
    Answer,
    /// It, or its answer, is lost.
    Lost,
    /// W evicts P.
    Evict,
    /// W's watch shows that.
    Seen,
}

impl Clocks {
    fn wait(&self) -> u16 {
        if self.wrong == "short-wait-after-eviction" { D } else { WAIT }
    }
}

impl Model for Clocks {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State { confirmed: 0, beat: None, held: false, evicted: false, seen: None }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        for p in RATES {
            for w in RATES {
                let confirmed = (state.confirmed + p).min(D);
                let beat = state.beat.map(|since| (since + p).min(D));
                let seen = state.seen.map(|since| (since + w).min(self.wait()));
                out.push((Step::Time { p, w }, State { confirmed, beat, seen, ..*state }));
            }
        }
        match state.beat {
            None if !state.evicted => out.push((Step::Beat, State { beat: Some(0), held: false, ..*state })),
            Some(since) if state.held => {
                let confirmed = if self.wrong == "confirmed-at-the-answer" { 0 } else { since };
                out.push((Step::Answer, State { confirmed, beat: None, held: false, ..*state }));
                out.push((Step::Lost, State { beat: None, held: false, ..*state }));
            }
            Some(_) if !state.evicted => out.push((Step::Held, State { held: true, ..*state })),
            _ => {}
        }
        if !state.evicted {
            out.push((Step::Evict, State { evicted: true, ..*state }));
        } else if state.seen.is_none() {
            out.push((Step::Seen, State { seen: Some(0), ..*state }));
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let counted = state.seen.is_none_or(|since| since < self.wait());
        (!counted && state.confirmed < D).then_some(LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds, source};

    #[test]
    fn the_wait_outlasts_the_lease() {
        holds("clock", &Clocks { wrong: "" });
        breaks(MUTATIONS, |wrong| Clocks { wrong });
    }

    #[test]
    fn the_constants_are_those_of_the_code() {
        let reading = source("crates/barrier/src/session/reading.rs");
        assert!(reading.contains(&format!("CONFIRMED_FOR: Duration = Duration::from_secs({})", D / 1000)));
        let roster = source("crates/barrier/src/session/roster.rs");
        assert!(roster.contains(&format!("COUNTED_FOR: Duration = Duration::from_millis({WAIT})")));
    }
}
