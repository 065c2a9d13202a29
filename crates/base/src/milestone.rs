//! [`Milestone`]: how far a store has come, in a form that can be kept outside of it.
//!
//! A store counts its milestones in a record that only its own servers can write. Whoever has once seen one can tell later
//! whether the store was put back to an older state: it then has an earlier one, whatever its revision is. Somebody who has
//! put it back on purpose begins a new count, which is later than all of the one before.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of them. As text: `0/41`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// How often the store was put back to an older state before it, and somebody accepted that.
    pub restores: u64,
    /// Its number, which grows with each; 0 before the first.
    pub number: u64,
    /// Revision of the store at which it was passed.
    pub revision: i64,
}

impl Milestone {
    /// Is a store whose last milestone is this one older than the one that had passed `known`?
    pub fn is_behind(&self, known: &Self) -> bool {
        if self.restores != known.restores {
            return self.restores < known.restores;
        }
        // Later milestones have later revisions. The same one at another revision is that of another store.
        match self.number.cmp(&known.number) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => self.revision != known.revision,
            std::cmp::Ordering::Greater => self.revision <= known.revision,
        }
    }

    /// The one to pass after this one, its revision still open. If this one is behind `known`, a new count begins.
    #[must_use]
    pub fn next(&self, known: &Self) -> Self {
        let restores = match self.is_behind(known) {
            true => self.restores.max(known.restores).saturating_add(1),
            false => self.restores,
        };
        Self { restores, number: self.number.max(known.number).saturating_add(1), revision: 0 }
    }

    /// For comparisons of milestones of one store.
    pub fn order(&self) -> (u64, u64) {
        (self.restores, self.number)
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.restores, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(restores: u64, number: u64, revision: i64) -> Milestone {
        Milestone { restores, number, revision }
    }

    #[test]
    fn a_store_that_went_on_is_not_behind() {
        let known = at(0, 41, 500);
        for store in [known, at(0, 42, 501), at(0, 900, 90_000)] {
            assert!(!store.is_behind(&known), "{store:?}");
        }
        assert!(!Milestone::default().is_behind(&Milestone::default()), "nothing is known of a new store");
    }

    #[test]
    fn an_older_state_is_behind_however_far_its_revision_was_pushed() {
        let known = at(0, 41, 500);
        let older = [Milestone::default(), at(0, 7, 80), at(0, 40, 499), at(0, 40, 90_000)];
        for store in older {
            assert!(store.is_behind(&known), "{store:?}");
        }
    }

    #[test]
    fn the_record_of_a_milestone_put_into_another_state_of_the_store_is_behind() {
        let known = at(0, 41, 500);
        for store in [at(0, 41, 90), at(0, 41, 501), at(0, 42, 120), at(0, 42, 500)] {
            assert!(store.is_behind(&known), "{store:?}");
        }
    }

    #[test]
    fn a_restore_that_was_accepted_is_ahead_of_everything_before_it_and_only_of_that() {
        let (known, old) = (at(0, 41, 500), at(0, 7, 80));
        let accepted = Milestone { revision: 95, ..old.next(&known) };
        assert_eq!(accepted.to_string(), "1/42");
        assert!(!accepted.is_behind(&known));
        // Of files of other replicas, too, which know of later ones.
        assert!(!accepted.is_behind(&at(0, 44, 530)));
        // The same old state once more is behind.
        assert!(old.is_behind(&accepted) && known.is_behind(&accepted));
        let again = old.next(&accepted);
        assert_eq!((again.restores, again.number), (2, 43));
    }

    #[test]
    fn the_next_of_a_store_that_is_not_behind_is_of_the_same_count() {
        let (known, store) = (at(1, 41, 500), at(1, 43, 520));
        assert_eq!(store.next(&known).order(), (1, 44));
        assert_eq!(Milestone::default().next(&Milestone::default()).order(), (0, 1));
    }
}
