//! Faults of the protocol that can be switched on, so that the tests of it are seen to fail. Never in a release.
//!
//! With the feature `mutations`, the environment variable `HOLDFAST_MUTATION` names those that are on, with commas between.

/// Names that [`on`] is asked for.
#[cfg(feature = "mutations")]
pub const ALL: &[&str] = &[
    "gate_writes_only",
    "fence_create_revision",
    "no_tombstone",
    "short_wait_after_eviction",
    "applied_from_header",
    "fill_without_pending",
    "resolve_by_reading",
    "lane_compared_at_zero",
    "no_conflict_rule",
    "barrier_reads_past_gate",
    "demoted_for_any_record",
    "fill_above_applied",
];

/// Whether a mutation is switched on.
#[cfg(feature = "mutations")]
pub fn on(name: &str) -> bool {
    static SET: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let set = SET.get_or_init(|| {
        let text = std::env::var("HOLDFAST_MUTATION").unwrap_or_default();
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    });
    debug_assert!(ALL.contains(&name), "{name}");
    set.iter().any(|set| set == name)
}

/// Without the feature there are none.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub const fn on(_name: &str) -> bool {
    false
}
