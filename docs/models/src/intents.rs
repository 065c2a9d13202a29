//! A credential is made outside between two commits (`crates/core/src/lease`: `issue.rs`, `intent.rs`).
//!
//! The maker may stand still or die between any two steps, and what it began outside may take effect late. The sweep
//! revokes what an abandoned intent stands for, again and again, before it forgets it. What is assumed: whoever is a day
//! late does nothing any more.

use crate::Mutation;
use crate::explore::Model;

const RECORD: &str = "I10: a credential that is alive outside has a lease or an intent";

/// What breaks what.
pub const MUTATIONS: &[Mutation] = &[
    Mutation { name: "forget-abandoned-intent", breaks: RECORD, switched: true },
    Mutation { name: "timeout-taken-for-the-end", breaks: RECORD, switched: false },
];

/// Ages of an intent: 0 fresh, 1 given up, 2 swept again, 3 a day later.
const LAST: u8 = 3;

/// The model.
pub struct Intents {
    /// Name of the mutation; empty: none.
    pub wrong: &'static str,
}

/// One credential.
#[derive(Clone, Copy, Hash)]
pub struct State {
    age: u8,
    intent: Option<Intent>,
    lease: bool,
    /// The lease is being revoked: outside it is done.
    ending: bool,
    /// It is alive outside.
    alive: bool,
    /// The statement that makes it is on its way.
    under_way: bool,
    maker: Maker,
    sweep: Sweep,
}

/// As stored.
#[derive(Clone, Copy, Hash)]
struct Intent {
    /// Nobody has changed it since the maker stored it: what `Check::At` compares.
    untouched: bool,
    swept: u8,
}

/// How far the maker is. `ended`: it knows that nothing goes on outside.
#[derive(Clone, Copy, Hash)]
enum Maker {
    Stored,
    Waiting,
    Made,
    TakesBack { ended: bool },
    TookBack { ended: bool },
    Gone,
}

/// How far the sweep is. What it has claimed nobody else changes.
#[derive(Clone, Copy, Hash)]
enum Sweep {
    Idle,
    Claimed,
    Revoked,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The next sweep is due.
    Time,
    /// The maker sends its statement.
    Begin,
    /// It takes effect.
    TakesEffect,
    /// The maker hears so.
    Answer,
    /// The maker waits no longer.
    Timeout,
    /// The lease replaces the intent.
    Record,
    /// The same, and the answer is lost.
    RecordUnanswered,
    /// It does not: the intent was changed, the token is gone, the store is away.
    RecordRefused,
    /// The maker revokes what it made.
    TakeBack,
    /// And forgets the intent, or leaves it to the sweep.
    LetGo,
    /// The maker dies.
    MakerDies,
    /// The sweep takes up a due intent.
    Claim,
    /// It revokes the credential.
    Revoke,
    /// It notes that, or forgets the intent.
    Swept,
    /// Who sweeps dies.
    SweeperDies,
    /// The lease is over: first the credential goes.
    EndOutside,
    /// Then the lease.
    EndLease,
}

impl Intents {
    fn maker(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let untouched = state.intent.is_some_and(|intent| intent.untouched);
        let at = |maker| State { maker, ..*state };
        match state.maker {
            Maker::Stored => out.push((Step::Begin, State { under_way: true, ..at(Maker::Waiting) })),
            Maker::Waiting => {
                if !state.under_way {
                    out.push((Step::Answer, at(Maker::Made)));
                }
                let ended = self.wrong == "timeout-taken-for-the-end";
                out.push((Step::Timeout, at(Maker::TakesBack { ended })));
            }
            Maker::Made => {
                if untouched {
                    let recorded = State { lease: true, intent: None, ..at(Maker::Gone) };
                    out.push((Step::Record, recorded));
                    let maker = Maker::TakesBack { ended: true };
                    out.push((Step::RecordUnanswered, State { maker, ..recorded }));
                }
                out.push((Step::RecordRefused, at(Maker::TakesBack { ended: true })));
            }
            Maker::TakesBack { ended } => {
                out.push((Step::TakeBack, State { alive: false, ..at(Maker::TookBack { ended }) }));
            }
            Maker::TookBack { ended } => {
                let left = state.intent.map(|intent| Intent { untouched: false, swept: intent.swept + 1 });
                let intent = if ended { None } else { left };
                out.push((
                    Step::LetGo,
                    State { intent: if untouched { intent } else { state.intent }, ..at(Maker::Gone) },
                ));
            }
            Maker::Gone => return,
        }
        out.push((Step::MakerDies, at(Maker::Gone)));
    }

    fn sweep(&self, state: &State, out: &mut Vec<(Step, State)>) {
        let at = |sweep| State { sweep, ..*state };
        match (state.sweep, state.intent) {
            (Sweep::Idle, Some(intent)) if intent.swept < state.age => {
                let claim = Intent { untouched: false, ..intent };
                out.push((Step::Claim, State { intent: Some(claim), ..at(Sweep::Claimed) }));
            }
            (Sweep::Claimed, _) => out.push((Step::Revoke, State { alive: false, ..at(Sweep::Revoked) })),
            (Sweep::Revoked, Some(intent)) => {
                let noted = Intent { untouched: false, swept: intent.swept + 1 };
                let last = noted.swept == LAST || self.wrong == "forget-abandoned-intent";
                out.push((Step::Swept, State { intent: (!last).then_some(noted), ..at(Sweep::Idle) }));
            }
            _ => {}
        }
        if !matches!(state.sweep, Sweep::Idle) {
            out.push((Step::SweeperDies, at(Sweep::Idle)));
        }
    }
}

impl Model for Intents {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            age: 0,
            intent: Some(Intent { untouched: true, swept: 0 }),
            lease: false,
            ending: false,
            alive: false,
            under_way: false,
            maker: Maker::Stored,
            sweep: Sweep::Idle,
        }
    }

    fn next(&self, state: &State, out: &mut Vec<(Step, State)>) {
        if state.age < LAST {
            let mut next = State { age: state.age + 1, ..*state };
            if next.age == LAST {
                // A day later.
                next.under_way = false;
                if matches!(state.maker, Maker::Stored) {
                    next.maker = Maker::Gone;
                }
            }
            out.push((Step::Time, next));
        }
        if state.under_way {
            out.push((Step::TakesEffect, State { alive: true, under_way: false, ..*state }));
        }
        self.maker(state, out);
        self.sweep(state, out);
        if state.lease && !state.ending {
            out.push((Step::EndOutside, State { alive: false, ending: true, ..*state }));
        } else if state.lease {
            out.push((Step::EndLease, State { lease: false, ..*state }));
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        (state.alive && !state.lease && state.intent.is_none()).then_some(RECORD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{breaks, holds};

    #[test]
    fn no_credential_is_forgotten() {
        holds("intents", &Intents { wrong: "" });
        breaks(MUTATIONS, |wrong| Intents { wrong });
    }
}
