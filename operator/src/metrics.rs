//! Counters of the admin listener.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// What one reconciliation came to.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    /// Kind of the object.
    pub kind: &'static str,
    /// `ok`, or the reason of the failure.
    pub outcome: &'static str,
}

/// Of which namespace.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct InNamespace {
    /// Its name.
    pub namespace: String,
}

/// Counters of the operator.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Reconciliations by kind and outcome.
    pub reconciles: Family<Outcome, Counter>,
    /// Revocations in the ledger.
    pub pending: Gauge<i64, AtomicI64>,
    /// Pods whose credentials were taken back.
    pub released_pods: Counter,
    /// Pods that ask for injection and did not get it.
    pub missed_pods: Family<InNamespace, Gauge<i64, AtomicI64>>,
    /// 1 while the Secret with the seal key is gone.
    pub seal_key_missing: Gauge<i64, AtomicI64>,
    /// 1 while this replica leads.
    pub leading: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Counters that are registered.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let reconciles = metrics.reconciles.clone();
        registry.register("holdfast_operator_reconciles", "Reconciliations by kind and outcome", reconciles);
        let pending = metrics.pending.clone();
        registry.register(
            "holdfast_operator_pending_revocations",
            "Revocations left for objects that are gone",
            pending,
        );
        let released = metrics.released_pods.clone();
        registry.register("holdfast_operator_released_pods", "Pods whose credentials were taken back", released);
        let missed = metrics.missed_pods.clone();
        registry.register(
            "holdfast_operator_missed_pods",
            "Pods that ask for injection and did not get it, by namespace",
            missed,
        );
        let missing = metrics.seal_key_missing.clone();
        registry.register(
            "holdfast_operator_seal_key_missing",
            "1 while the Secret with the seal key is gone",
            missing,
        );
        registry.register("holdfast_operator_leading", "1 while this replica leads", metrics.leading.clone());
        metrics
    }
}
