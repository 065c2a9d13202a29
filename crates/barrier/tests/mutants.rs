//! Each rule of the protocol that a mutation switches off is missed by a test.

holdfast_failpoint::mutants! {
    "mutant.applied-from-header" => "faults::a_heartbeat_does_not_stand_for_what_the_watch_has_not_told",
    "mutant.barrier-reads-past-gate" => "rules::what_one_has_from_the_store_the_others_show",
    "mutant.demoted-for-any-record" => "rules::who_has_recovered_from_being_slow_is_waited_for_again",
    "mutant.fence-create-revision" => "cluster::an_evicted_replica_writes_only_under_a_new_id",
    "mutant.fill-above-applied" => "rules::what_is_read_into_memory_is_as_old_as_memory",
    "mutant.fill-without-pending" => "rules::what_changes_while_it_is_read_is_not_kept",
    "mutant.gate-writes-only" => "rules::what_one_shows_from_memory_the_others_show",
    "mutant.lane-compared-at-zero" => "faults::a_refused_batch_on_a_lane_that_was_deleted_is_not_applied_late",
    "mutant.no-conflict-rule" => "rules::of_two_that_exclude_each_other_one_happens",
    "mutant.no-tombstone" => "rules::who_joins_after_an_eviction_waits_as_well",
    "mutant.resolve-by-reading" => "faults::a_refused_batch_that_arrives_late_is_not_applied",
    "mutant.short-wait-after-eviction" => "rules::who_waits_waits_longer_than_any_clock_entitles_to",
}
