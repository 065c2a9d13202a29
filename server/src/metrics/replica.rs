//! How this replica does among the others: what is read from memory, who is waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_barrier::{Mode, Status};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Gauges and counters; all 0 while sealed.
pub struct ReplicaMetrics {
    reads_memory: Gauge,
    replicas: Gauge,
    cached_replicas: Gauge,
    counted_dead: Gauge,
    applied: Gauge,
    lag: Gauge,
    cache: Gauge,
    confirmed: Gauge<f64, AtomicU64>,
    waiting: Gauge,
    waits: Counter,
    waited: Counter<f64, AtomicU64>,
    refused: Counter,
    demotions: Counter,
    demands: Counter,
    evictions: Counter,
    rejoins: Counter,
    violations: Counter,
    digests: Counter,
}

impl ReplicaMetrics {
    /// All at zero.
    pub fn register(registry: &mut Registry) -> Self {
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let reads_memory = gauge("holdfast_replica_reads_memory", "1 while reads are answered from memory");
        let replicas = gauge("holdfast_replicas", "Unsealed replicas, this one too");
        let cached_replicas = gauge("holdfast_replicas_cached", "Of those, how many read from memory by their records");
        let counted_dead = gauge("holdfast_replicas_evicted", "Evicted replicas that answers still wait for");
        let applied = gauge("holdfast_replica_applied_revision", "Revision of the store that memory shows");
        let lag = gauge("holdfast_replica_lag_revisions", "Revisions that the furthest replica is ahead of this one");
        let cache = gauge("holdfast_replica_cache_bytes", "Bytes of what is kept in memory of the store");
        let waiting = gauge("holdfast_gate_waiting", "Answers that wait for other replicas now");
        let confirmed = Gauge::default();
        let help = "Seconds since the send of the last heartbeat that the store confirmed";
        registry.register("holdfast_replica_confirmed_seconds", help, confirmed.clone());
        let waited = Counter::default();
        registry.register("holdfast_gate_wait_seconds", "Time that answers waited for other replicas", waited.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            waits: counter("holdfast_gate_waits", "Answers that waited for other replicas"),
            refused: counter("holdfast_gate_refused", "Answers given up as other replicas did not confirm in time"),
            demotions: counter("holdfast_replica_demotions", "Times that this replica gave up reading from memory"),
            demands: counter("holdfast_replica_demands", "Times that this replica wanted another to give that up"),
            evictions: counter("holdfast_replica_evictions", "Silent replicas that this one evicted"),
            rejoins: counter("holdfast_replica_rejoins", "Times that this replica was evicted and joined again"),
            violations: counter("holdfast_store_violations", "Changes of the store by somebody else"),
            digests: counter("holdfast_replica_divergences", "Times that another replica had seen other changes"),
            reads_memory,
            replicas,
            cached_replicas,
            counted_dead,
            applied,
            lag,
            cache,
            confirmed,
            waiting,
            waited,
        }
    }

    /// Takes over what the replica says of itself. Counters begin anew with an unseal.
    pub fn show(&self, status: Option<&Status>) {
        let Some(status) = status else {
            return [&self.reads_memory, &self.replicas, &self.cached_replicas, &self.waiting].into_iter().for_each(
                |gauge| {
                    gauge.set(0);
                },
            );
        };
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let serving = status.peers.iter().filter(|peer| peer.mode != Mode::Evicted);
        let own = usize::from(status.mode == Mode::Cached);
        let furthest = status.peers.iter().filter_map(|peer| peer.applied).max().unwrap_or(0);
        self.reads_memory.set(i64::from(status.reads_memory));
        self.replicas.set(count(serving.clone().count() + 1));
        self.cached_replicas.set(count(serving.filter(|peer| peer.mode == Mode::Cached).count() + own));
        self.counted_dead.set(count(status.counted_dead));
        self.applied.set(status.applied);
        self.lag.set((furthest - status.applied).max(0));
        self.confirmed.set(status.confirmed_ago.map_or(f64::INFINITY, |ago| ago.as_secs_f64()));
        self.waiting.set(count(status.gate_waiting));
        self.cache.set(count(status.cache_bytes));
        self.waited.inner().store(status.gate_waited.as_secs_f64().to_bits(), Ordering::Relaxed);
        for (counter, value) in [
            (&self.waits, status.gate_waits),
            (&self.refused, status.gate_refused),
            (&self.demotions, status.demotions),
            (&self.demands, status.demands),
            (&self.evictions, status.evictions),
            (&self.rejoins, status.rejoins),
            (&self.violations, status.violations),
            (&self.digests, status.divergences),
        ] {
            counter.inner().store(value, Ordering::Relaxed);
        }
    }
}
