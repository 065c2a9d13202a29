//! Conditions in the shape that kstatus and `kubectl wait` understand, with a `lastTransitionTime` that moves only when
//! the status does: else every write of a status would be a change, and every change a reconciliation.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The object can be used.
pub const READY: &str = "Ready";
/// The operator is at work on the object and has not come to an end (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// The object cannot become ready without being changed (kstatus).
pub const STALLED: &str = "Stalled";
/// The credential of a DynamicCredential with a target is valid now.
pub const LEASE_ACTIVE: &str = "LeaseActive";
/// A newer credential is out and the older one is still valid.
pub const ROTATING: &str = "Rotating";
/// The server or the Secret was found different from the object, and has been put right.
pub const DRIFTED: &str = "Drifted";

/// One condition to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Type, one of the constants here.
    pub kind: &'static str,
    /// `True`, or `False`.
    pub status: bool,
    /// CamelCase word.
    pub reason: String,
    /// For people; never holds a secret.
    pub message: String,
}

impl Update {
    /// A condition to be set.
    pub fn new(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, status, reason: reason.to_owned(), message: message.into() }
    }
}

/// The conditions after the updates: those not named stay, and `lastTransitionTime` stays where the status did not change.
/// Sorted by type.
pub fn merge(old: &[Condition], updates: &[Update], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let mut merged: Vec<Condition> =
        old.iter().filter(|condition| !updates.iter().any(|update| update.kind == condition.type_)).cloned().collect();
    for update in updates {
        let status = if update.status { "True" } else { "False" };
        let before = old.iter().find(|condition| condition.type_ == update.kind);
        let since = before
            .filter(|condition| condition.status == status)
            .map(|condition| condition.last_transition_time.clone());
        merged.push(Condition {
            type_: update.kind.to_owned(),
            status: status.to_owned(),
            reason: update.reason.clone(),
            message: shorten(&update.message),
            observed_generation: generation,
            last_transition_time: since.unwrap_or(Time(whole_seconds(now))),
        });
    }
    merged.sort_by(|a, b| a.type_.cmp(&b.type_));
    merged
}

/// Is this condition True?
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// The API server keeps seconds only; a fraction would look like a change for ever.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The API server refuses messages above 32 KiB, and people above a few lines.
fn shorten(message: &str) -> String {
    const LONGEST: usize = 1024;
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(&[], &[Update::new(READY, false, "Unreachable", "no answer")], Some(1), at(10));
        let second = merge(&first, &[Update::new(READY, false, "Unreachable", "still none")], Some(1), at(20));
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!(second[0].message, "still none");
        let third = merge(&second, &[Update::new(READY, true, "Mounted", "")], Some(2), at(30));
        assert_eq!(third[0].last_transition_time.0, at(30));
        assert_eq!(third[0].observed_generation, Some(2));
    }

    #[test]
    fn the_same_updates_change_nothing() {
        let updates = [Update::new(ROTATING, false, "Settled", ""), Update::new(READY, true, "Issued", "")];
        let first = merge(&[], &updates, Some(1), at(10));
        assert_eq!(merge(&first, &updates, Some(1), at(99)), first);
    }

    #[test]
    fn other_conditions_stay_and_long_messages_are_cut_at_a_character() {
        let first = merge(&[], &[Update::new(DRIFTED, true, "Repaired", "")], None, at(1));
        let second = merge(&first, &[Update::new(READY, true, "Issued", "ü".repeat(2000))], None, at(2));
        assert!(is_true(&second, DRIFTED) && is_true(&second, READY));
        assert!(second[1].message.len() <= 1030);
    }
}
