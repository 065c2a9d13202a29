//! The TTL rule: one function for leases, tokens and renewals.

use std::time::Duration;

use holdfast_base::duration;

/// A TTL within its limits, and what is said about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Capped {
    /// The TTL to use.
    pub ttl: Duration,
    /// One text per cap that was applied.
    pub warnings: Vec<String>,
}

/// The TTL of something that is `age` old: what was wanted or else the default, so that its whole life stays within
/// `max` (the engine's, if it gives one, within the mount's). `None` when it is past its maximum.
pub fn capped(
    wanted: Option<Duration>,
    default: Duration,
    max: Option<Duration>,
    mount_max: Duration,
    age: Duration,
) -> Option<Capped> {
    let mut warnings = Vec::new();
    let max = match max {
        Some(max) if !max.is_zero() => max.min(mount_max),
        _ => mount_max,
    };
    let wanted = match wanted {
        Some(wanted) if !wanted.is_zero() => wanted,
        _ => default,
    };
    let left = max.checked_sub(age).filter(|left| !left.is_zero())?;
    if wanted > left {
        warnings.push(format!(
            "TTL of \"{}\" exceeded the effective max_ttl of \"{}\"; TTL value is capped accordingly",
            duration::format(wanted),
            // What is left after some time has a fraction that nobody wants to read.
            duration::format(if left > Duration::from_secs(1) { Duration::from_secs(left.as_secs()) } else { left }),
        ));
    }
    Some(Capped { ttl: wanted.min(left), warnings })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_wanted_wins_within_the_limits() {
        assert_eq!(capped(Some(HOUR), 2 * HOUR, None, 9 * HOUR, Duration::ZERO).unwrap().ttl, HOUR);
        assert_eq!(capped(None, 2 * HOUR, None, 9 * HOUR, Duration::ZERO).unwrap().ttl, 2 * HOUR);
        assert_eq!(capped(Some(Duration::ZERO), 2 * HOUR, None, 9 * HOUR, Duration::ZERO).unwrap().ttl, 2 * HOUR);
    }

    #[test]
    fn a_cap_is_told() {
        let capped = capped(Some(5 * HOUR), HOUR, Some(3 * HOUR), 9 * HOUR, HOUR).unwrap();
        assert_eq!(capped.ttl, 2 * HOUR);
        assert_eq!(
            capped.warnings,
            ["TTL of \"5h0m0s\" exceeded the effective max_ttl of \"2h0m0s\"; TTL value is capped accordingly"]
        );
    }

    #[test]
    fn the_engine_cannot_exceed_the_mount() {
        assert_eq!(capped(Some(9 * HOUR), HOUR, Some(9 * HOUR), 2 * HOUR, Duration::ZERO).unwrap().ttl, 2 * HOUR);
    }

    proptest! {
        /// Renewed within the last second of its life, a lease must not become one without end.
        #[test]
        fn cve_2021_32923_no_life_passes_its_maximum_and_no_ttl_is_zero(
            wanted in prop::option::of(0u64..200_000_000), default in 0u64..4_000_000, max in prop::option::of(0u64..4_000_000),
            mount_max in 1u64..4_000_000, age_ms in prop_oneof![0u64..5_000_000_000, Just(0)], just_before in any::<bool>(),
        ) {
            let seconds = Duration::from_secs;
            let limit = max.filter(|max| *max > 0).map_or(mount_max, |max| max.min(mount_max));
            let age = if just_before { seconds(limit) - Duration::from_millis(age_ms % 1_000) } else { Duration::from_millis(age_ms) };
            let default = default.max(1);
            match capped(wanted.map(seconds), seconds(default), max.map(seconds), seconds(mount_max), age) {
                Some(Capped { ttl, .. }) => {
                    prop_assert!(!ttl.is_zero());
                    prop_assert!(age + ttl <= seconds(limit), "{age:?} + {ttl:?} > {limit}");
                }
                None => prop_assert!(age >= seconds(limit)),
            }
        }
    }

    #[test]
    fn past_the_maximum_there_is_no_ttl() {
        assert_eq!(capped(None, HOUR, None, 2 * HOUR, 2 * HOUR), None);
    }
}
