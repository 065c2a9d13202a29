//! What to do next with the credential of a DynamicCredential: a pure function of what the status remembers, what the
//! server has, and the time.
//!
//! The number of a credential is counted up in the status *before* the credential is made, and is its item on the server.
//! A crash at any point therefore finds the credential that was begun; nothing is ever made twice.

use std::{collections::BTreeMap, time::Duration};

use holdfast_base::Timestamp;
use holdfast_crd_types::{DynamicCredentialStatus, LeaseStatus, PreviousCredential};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What the object asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Path on the server.
    pub path: String,
    /// Duration of the lease in seconds; the role's default otherwise.
    pub ttl: Option<u64>,
    /// The role's maximum in seconds, if it has one.
    pub max: Option<u64>,
    /// How long a credential stays valid after its successor is in place, in seconds.
    pub overlap: u64,
    /// Value of the rotate annotation.
    pub rotate: Option<String>,
}

/// A credential that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its lease.
    pub lease_id: String,
}

/// Why a new credential is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was none.
    First,
    /// The annotation asks for it.
    Requested,
    /// Engine or role are others.
    Moved,
    /// The old one cannot be renewed much longer.
    EndOfLife,
    /// The old one is not on the server any more.
    Lost,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store that this number is the current one.
    Begin {
        /// The number.
        number: i64,
        /// Why.
        why: Why,
    },
    /// Go on with this credential, which the server has and the status forgot.
    Adopt {
        /// The number.
        number: i64,
    },
    /// Get the credential of this number and put it into the target.
    Issue {
        /// The number.
        number: i64,
    },
    /// Renew the lease of the current credential.
    Renew {
        /// The number.
        number: i64,
    },
    /// Revoke a former credential.
    Revoke {
        /// The number.
        number: i64,
    },
    /// Nothing to do until this time.
    Settle {
        /// The next date.
        until: Option<Timestamp>,
    },
}

/// The next step. `wanted` is `None` when the object has no target.
pub fn next(
    wanted: Option<&Wanted>,
    status: &DynamicCredentialStatus,
    bound: &BTreeMap<i64, Bound>,
    now: Timestamp,
) -> Step {
    let Some(wanted) = wanted else {
        return bound.keys().next().map_or(Step::Settle { until: None }, |number| Step::Revoke { number: *number });
    };
    let Some(current) = status.credential else {
        return match bound.keys().next_back() {
            Some(number) => Step::Adopt { number: *number },
            None => Step::Begin { number: 1, why: Why::First },
        };
    };
    let begin = |why| Step::Begin { number: current + 1, why };
    let Some(lease) = &status.lease else { return Step::Issue { number: current } };
    if !bound.contains_key(&current) {
        return begin(Why::Lost);
    }
    if status.path.as_deref() != Some(&wanted.path) {
        return begin(Why::Moved);
    }
    if wanted.rotate.is_some() && wanted.rotate != status.rotate_handled {
        return begin(Why::Requested);
    }
    let rotate_at = rotate_at(lease, wanted);
    if rotate_at.is_some_and(|at| now >= at) {
        return begin(Why::EndOfLife);
    }
    let due = |number: &i64| {
        status.previous.iter().find(|old| old.credential == *number).is_none_or(|old| now >= old.revoke_at.0)
    };
    if let Some(number) = bound.keys().find(|number| **number != current && due(number)) {
        return Step::Revoke { number: *number };
    }
    let renewable = lease.max_expires_at.as_ref().is_none_or(|max| lease.expires_at.0 < max.0);
    if renewable && now >= lease.renew_at.0 {
        return Step::Renew { number: current };
    }
    let renew = renewable.then_some(lease.renew_at.0);
    let dates = status.previous.iter().map(|old| old.revoke_at.0).chain(renew).chain(rotate_at);
    Step::Settle { until: dates.min() }
}

/// When the successor is made: early enough that both are valid for the overlap, and for a third of the lease; in the
/// first half of a lease's life never.
fn rotate_at(lease: &LeaseStatus, wanted: &Wanted) -> Option<Timestamp> {
    let (issued, max) = (lease.issued_at.0, lease.max_expires_at.as_ref()?.0);
    let ttl = wanted.ttl.unwrap_or_else(|| between(issued, lease.expires_at.0).min(between(issued, max)));
    let margin = wanted.overlap.max(ttl / 3);
    let half = after(issued, between(issued, max) / 2);
    Some(before(max, margin).max(half))
}

/// The status when a number has been begun.
pub fn begun(status: &mut DynamicCredentialStatus, wanted: &Wanted, number: i64, why: Why, now: Timestamp) {
    if let (Some(current), false) = (status.credential, why == Why::Lost) {
        retire(status, current, wanted, now);
    }
    status.credential = Some(number);
    status.lease = None;
    status.path = Some(wanted.path.clone());
    status.rotate_handled = wanted.rotate.clone();
}

/// The status when a credential has been found again that the status had forgotten, with older ones beside it.
pub fn adopted(
    status: &mut DynamicCredentialStatus,
    wanted: &Wanted,
    number: i64,
    bound: &BTreeMap<i64, Bound>,
    now: Timestamp,
) {
    for old in bound.keys().filter(|old| **old != number) {
        retire(status, *old, wanted, now);
    }
    status.credential = Some(number);
    status.lease = None;
    status.path.get_or_insert_with(|| wanted.path.clone());
    status.rotate_handled = wanted.rotate.clone();
}

/// The dates of the former credentials when a new one has been put into the target: the one before it stays for the whole
/// overlap from now on, however long the new one was in the making.
pub fn placed(status: &mut DynamicCredentialStatus, wanted: &Wanted, number: i64, now: Timestamp) {
    let earliest = after(now, wanted.overlap);
    for old in status.previous.iter_mut().filter(|old| old.credential == number - 1 && old.revoke_at.0 < earliest) {
        old.revoke_at = Time(earliest);
    }
}

fn retire(status: &mut DynamicCredentialStatus, number: i64, wanted: &Wanted, now: Timestamp) {
    status.previous.retain(|old| old.credential != number);
    status.previous.push(PreviousCredential { credential: number, revoke_at: Time(after(now, wanted.overlap)) });
}

/// The times of a lease that has `left` seconds from now, just issued (or found again).
pub fn issued(wanted: &Wanted, left: u64, renewable: bool, jitter: u8, now: Timestamp) -> LeaseStatus {
    let max = wanted.max.filter(|max| *max > 0).map(|max| after(now, max));
    let expires = after(now, left);
    let max = if renewable { max } else { Some(expires) };
    LeaseStatus {
        issued_at: Time(after(now, 0)),
        renew_at: Time(renew_at(now, left, jitter)),
        expires_at: Time(expires),
        max_expires_at: max.map(|max| Time(max.max(expires))),
        renewals: 0,
    }
}

/// The times of a lease that was renewed and has `left` seconds from now.
pub fn renewed(lease: &LeaseStatus, wanted: &Wanted, left: u64, jitter: u8, now: Timestamp) -> LeaseStatus {
    let expires = after(now, left);
    // The usual duration, as far as it is known.
    let usual = wanted.ttl.unwrap_or_else(|| between(lease.issued_at.0, lease.expires_at.0).min(left));
    // Less than was asked for: this is the end of the lease's life, whatever the role says.
    let cut = left < usual - usual / 10;
    let max = if cut { Some(Time(expires)) } else { lease.max_expires_at.clone() };
    LeaseStatus {
        issued_at: lease.issued_at.clone(),
        renew_at: Time(renew_at(now, left, jitter)),
        expires_at: Time(expires),
        max_expires_at: max,
        renewals: lease.renewals + 1,
    }
}

/// After two thirds of what is left, ±10 %.
fn renew_at(now: Timestamp, left: u64, jitter: u8) -> Timestamp {
    let share = 2.0 / 3.0 + (f64::from(jitter) / 255.0 - 0.5) * 0.2;
    let pause = Duration::from_secs(left).mul_f64(share);
    after(now, pause.as_secs())
}

/// Whole seconds after a time.
pub fn after(time: Timestamp, seconds: u64) -> Timestamp {
    let second = time.as_second().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

fn before(time: Timestamp, seconds: u64) -> Timestamp {
    let second = time.as_second().saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX));
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}

/// Seconds from one time to a later one; zero if it is not later.
pub fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u8 = 128;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn wanted() -> Wanted {
        Wanted { path: "k8s/shop/db/creds/ro".into(), ttl: Some(3600), max: Some(86_400), overlap: 300, rotate: None }
    }

    fn server(numbers: &[i64]) -> BTreeMap<i64, Bound> {
        numbers.iter().map(|number| (*number, Bound { lease_id: format!("l/{number}") })).collect()
    }

    /// Number 1, issued at second 0.
    fn first() -> DynamicCredentialStatus {
        let mut status = DynamicCredentialStatus::default();
        begun(&mut status, &wanted(), 1, Why::First, at(0));
        status.lease = Some(issued(&wanted(), 3600, true, MIDDLE, at(0)));
        status
    }

    #[test]
    fn the_number_is_stored_before_the_credential_is_made() {
        let mut status = DynamicCredentialStatus::default();
        assert_eq!(next(Some(&wanted()), &status, &server(&[]), at(0)), Step::Begin { number: 1, why: Why::First });
        begun(&mut status, &wanted(), 1, Why::First, at(0));
        // A crash before and after the server made it leads to the same step.
        assert_eq!(next(Some(&wanted()), &status, &server(&[]), at(1)), Step::Issue { number: 1 });
        assert_eq!(next(Some(&wanted()), &status, &server(&[1]), at(1)), Step::Issue { number: 1 });
    }

    #[test]
    fn a_restart_makes_nothing() {
        assert!(matches!(next(Some(&wanted()), &first(), &server(&[1]), at(10)), Step::Settle { until: Some(_) }));
    }

    #[test]
    fn a_lost_status_finds_the_newest_credential_and_retires_the_others() {
        let mut status = DynamicCredentialStatus::default();
        let bound = server(&[3, 4]);
        assert_eq!(next(Some(&wanted()), &status, &bound, at(0)), Step::Adopt { number: 4 });
        adopted(&mut status, &wanted(), 4, &bound, at(0));
        assert_eq!(next(Some(&wanted()), &status, &bound, at(0)), Step::Issue { number: 4 });
        assert_eq!(status.previous[0].credential, 3);
    }

    #[test]
    fn it_is_renewed_at_two_thirds() {
        let status = first();
        let renew = status.lease.as_ref().unwrap().renew_at.0;
        assert!((2300..2500).contains(&renew.as_second()), "{renew}");
        assert_eq!(next(Some(&wanted()), &status, &server(&[1]), renew), Step::Renew { number: 1 });
        assert_eq!(
            next(Some(&wanted()), &status, &server(&[1]), before(renew, 1)),
            Step::Settle { until: Some(renew) }
        );
    }

    #[test]
    fn near_its_maximum_it_is_replaced_first_and_revoked_after_the_overlap() {
        let mut status = first();
        let lease = status.lease.as_mut().unwrap();
        (lease.renew_at, lease.expires_at) = (Time(at(90_000)), Time(at(86_400)));
        // 86400 − max(300, 3600/3)
        assert!(matches!(next(Some(&wanted()), &status, &server(&[1]), at(85_199)), Step::Settle { .. }));
        assert_eq!(
            next(Some(&wanted()), &status, &server(&[1]), at(85_200)),
            Step::Begin { number: 2, why: Why::EndOfLife }
        );
        begun(&mut status, &wanted(), 2, Why::EndOfLife, at(85_200));
        assert_eq!(next(Some(&wanted()), &status, &server(&[1]), at(85_201)), Step::Issue { number: 2 });
        status.lease = Some(issued(&wanted(), 3600, true, MIDDLE, at(85_201)));
        assert_eq!(
            next(Some(&wanted()), &status, &server(&[1, 2]), at(85_499)),
            Step::Settle { until: Some(at(85_500)) }
        );
        assert_eq!(next(Some(&wanted()), &status, &server(&[1, 2]), at(85_500)), Step::Revoke { number: 1 });
    }

    #[test]
    fn a_lease_that_cannot_be_renewed_is_replaced_in_its_second_half() {
        let wanted = Wanted { ttl: None, max: None, overlap: 300, ..wanted() };
        let mut status = first();
        status.lease = Some(issued(&wanted, 400, false, MIDDLE, at(0)));
        assert!(matches!(next(Some(&wanted), &status, &server(&[1]), at(199)), Step::Settle { .. }));
        assert_eq!(
            next(Some(&wanted), &status, &server(&[1]), at(200)),
            Step::Begin { number: 2, why: Why::EndOfLife }
        );
    }

    #[test]
    fn a_renewal_that_gives_less_than_asked_for_shows_the_end() {
        let status = first();
        let lease = renewed(status.lease.as_ref().unwrap(), &wanted(), 1000, MIDDLE, at(2400));
        assert_eq!(lease.max_expires_at, Some(Time(at(3400))));
        assert_eq!(lease.renewals, 1);
        let lease = renewed(status.lease.as_ref().unwrap(), &wanted(), 3600, MIDDLE, at(2400));
        assert_eq!(lease.max_expires_at, Some(Time(at(86_400))));
    }

    #[test]
    fn the_overlap_begins_when_the_new_credential_is_in_place() {
        let mut status = DynamicCredentialStatus { credential: Some(1), ..Default::default() };
        begun(&mut status, &wanted(), 2, Why::Requested, at(0));
        // The database was away for longer than the overlap.
        placed(&mut status, &wanted(), 2, at(1000));
        assert_eq!(status.previous[0].revoke_at.0, at(1300));
        // Who comes back later does not shorten it, and older ones keep their dates.
        placed(&mut status, &wanted(), 2, at(900));
        begun(&mut status, &wanted(), 3, Why::Requested, at(1100));
        placed(&mut status, &wanted(), 3, at(1200));
        let dates: Vec<_> = status.previous.iter().map(|old| (old.credential, old.revoke_at.0)).collect();
        assert_eq!(dates, [(1, at(1300)), (2, at(1500))]);
    }

    #[test]
    fn the_annotation_rotates_once_for_each_value() {
        let mut status = first();
        let wanted = Wanted { rotate: Some("now".into()), ..wanted() };
        assert_eq!(next(Some(&wanted), &status, &server(&[1]), at(1)), Step::Begin { number: 2, why: Why::Requested });
        begun(&mut status, &wanted, 2, Why::Requested, at(1));
        status.lease = Some(issued(&wanted, 3600, true, MIDDLE, at(1)));
        assert!(matches!(next(Some(&wanted), &status, &server(&[1, 2]), at(2)), Step::Settle { .. }));
    }

    #[test]
    fn one_that_somebody_revoked_is_replaced_and_not_awaited() {
        let mut status = first();
        assert_eq!(next(Some(&wanted()), &status, &server(&[]), at(1)), Step::Begin { number: 2, why: Why::Lost });
        begun(&mut status, &wanted(), 2, Why::Lost, at(1));
        assert!(status.previous.is_empty());
    }

    #[test]
    fn another_role_is_another_credential() {
        let wanted = Wanted { path: "k8s/shop/db/creds/rw".into(), ..wanted() };
        assert_eq!(next(Some(&wanted), &first(), &server(&[1]), at(1)), Step::Begin { number: 2, why: Why::Moved });
    }

    #[test]
    fn without_a_target_nothing_stays() {
        assert_eq!(next(None, &first(), &server(&[1]), at(1)), Step::Revoke { number: 1 });
        assert_eq!(next(None, &first(), &server(&[]), at(1)), Step::Settle { until: None });
    }
}
