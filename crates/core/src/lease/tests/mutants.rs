//! What a mutation makes wrong is missed by a test.

holdfast_failpoint::mutants! {
    "mutant.forget-abandoned-intent" => "lease::tests::crash::a_maker_that_was_paused_and_dies_leaves_nothing",
}
