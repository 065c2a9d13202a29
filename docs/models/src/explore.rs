//! All states of a model, nearest first, until one breaks an invariant.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What can happen, and what must never be.
pub trait Model {
    /// Everything that counts. States that are the same must be equal: what has no order is kept sorted.
    type State: Clone + Hash;
    /// What leads from one to the next, as a trace shows it.
    type Step: Copy + fmt::Debug;

    /// Where it begins.
    fn start(&self) -> Self::State;
    /// All that may come next.
    fn next(&self, state: &Self::State, out: &mut Vec<(Self::Step, Self::State)>);
    /// The invariant that a state breaks.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
}

/// What a search found.
#[derive(Debug)]
pub struct Explored<S> {
    /// Different states seen.
    pub states: usize,
    /// Steps from the start to the furthest of them.
    pub depth: usize,
    /// The nearest violation; without one, these were all states.
    pub violation: Option<Violation<S>>,
}

/// An invariant, and the shortest way to break it.
#[derive(Debug)]
pub struct Violation<S> {
    /// Which.
    pub invariant: &'static str,
    /// The way.
    pub trace: Vec<S>,
}

/// There are more states than the bound, so nothing is proved.
#[derive(Debug)]
pub struct TooMany(pub usize);

/// How each state was reached, by its hash.
type Came<S> = HashMap<u64, Option<(u64, S)>, BuildHasherDefault<Mix>>;

/// Looks at every state that can be reached, or at those up to the first violation. More than `most` are an error.
///
/// States are told apart by 64 bits of hash: with a million of them the odds that two are taken for one are 1 in 30 million.
pub fn explore<M: Model>(model: &M, most: usize) -> Result<Explored<M::Step>, TooMany> {
    let start = model.start();
    let mut came = Came::<M::Step>::default();
    came.insert(print(&start), None);
    let mut ahead = VecDeque::from([(0, start)]);
    let (mut furthest, mut steps) = (0, Vec::new());
    while let Some((depth, state)) = ahead.pop_front() {
        furthest = depth;
        let here = print(&state);
        if let Some(invariant) = model.broken(&state) {
            let violation = Violation { invariant, trace: way(&came, here) };
            return Ok(Explored { states: came.len(), depth, violation: Some(violation) });
        }
        model.next(&state, &mut steps);
        for (step, next) in steps.drain(..) {
            if let Entry::Vacant(unseen) = came.entry(print(&next)) {
                unseen.insert(Some((here, step)));
                ahead.push_back((depth + 1, next));
            }
        }
        if came.len() > most {
            return Err(TooMany(most));
        }
    }
    Ok(Explored { states: came.len(), depth: furthest, violation: None })
}

fn print(state: &impl Hash) -> u64 {
    let mut hasher = Mix::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// The standard one takes most of the time: it withstands attackers, which nobody is here.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        // A round of splitmix64, over what came before.
        let mut mixed = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn way<S: Copy>(came: &Came<S>, mut at: u64) -> Vec<S> {
    let mut steps = Vec::new();
    while let Some(Some((before, step))) = came.get(&at) {
        steps.push(*step);
        at = *before;
    }
    steps.reverse();
    steps
}

impl<S: fmt::Debug> fmt::Display for Explored<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} steps deep", self.states, self.depth)?;
        let Some(Violation { invariant, trace }) = &self.violation else { return Ok(()) };
        write!(f, "; breaks {invariant}:")?;
        trace.iter().enumerate().try_for_each(|(number, step)| write!(f, "\n  {:2}  {step:?}", number + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds 2 or 3 up to a limit.
    struct Sum(u32);

    impl Model for Sum {
        type State = u32;
        type Step = u32;

        fn start(&self) -> u32 {
            0
        }

        fn next(&self, state: &u32, out: &mut Vec<(u32, u32)>) {
            out.extend([2, 3].map(|more| (more, state + more)).into_iter().filter(|(_, sum)| *sum <= 10));
        }

        fn broken(&self, state: &u32) -> Option<&'static str> {
            (*state == self.0).then_some("not this one")
        }
    }

    #[test]
    fn it_sees_every_state_and_the_shortest_way() {
        let all = explore(&Sum(1), 100).unwrap();
        assert_eq!((all.states, all.violation.is_none()), (10, true));
        assert_eq!(explore(&Sum(8), 100).unwrap().violation.unwrap().trace.iter().sum::<u32>(), 8);
        assert_eq!(explore(&Sum(9), 100).unwrap().violation.unwrap().trace, [3, 3, 3]);
        assert!(explore(&Sum(1), 9).is_err());
    }
}
