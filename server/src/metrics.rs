//! Metrics of the server, as Prometheus text. Names that dashboards for Vault expect keep them.

mod asked;
mod replica;

use std::{
    sync::{Arc, Weak, atomic::AtomicU64},
    time::Duration,
};

use holdfast_barrier::Barrier;
use holdfast_core::{Core, Verb};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use asked::Asked;
use replica::ReplicaMetrics;

/// The registry and what is measured at the listeners.
pub struct Metrics {
    registry: Mutex<Registry>,
    core: holdfast_core::Metrics,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<VerbLabels, Histogram, fn() -> Histogram>,
    resident: Gauge<f64, AtomicU64>,
    replica: ReplicaMetrics,
    asked: Arc<Asked>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    operation: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register("holdfast_http_requests", "Requests answered", requests.clone());
        let seconds: Family<_, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_25, 2.0, 18)));
        registry.register("holdfast_http_request_seconds", "Time from head to answer", seconds.clone());
        let resident = Gauge::default();
        registry.register("process_resident_memory_bytes", "Resident memory", resident.clone());
        let core = holdfast_core::Metrics::register(&mut registry);
        let replica = ReplicaMetrics::register(&mut registry);
        let asked = Arc::new(Asked::default());
        registry.register_collector(Box::new(asked.clone()));
        Self { registry: Mutex::new(registry), core, requests, seconds, resident, replica, asked }
    }

    /// From here on tells how this replica does among the others.
    pub fn watch_replica(&self, barrier: &Arc<Barrier>) {
        // There is one.
        let _ = self.asked.barrier.set(Arc::downgrade(barrier));
    }

    /// From here on tells what the mounts of this core were asked for.
    pub fn watch_mounts(&self, core: &Arc<Core>) {
        // There is one.
        let _ = self.asked.core.set(Arc::downgrade(core));
    }

    /// What the core counts.
    pub fn core(&self) -> holdfast_core::Metrics {
        self.core.clone()
    }

    /// One request was answered.
    pub fn answered(&self, verb: Option<Verb>, status: u16, took: Duration) {
        let operation = operation(verb);
        self.requests.get_or_create(&RequestLabels { operation, status }).inc();
        self.seconds.get_or_create(&VerbLabels { operation }).observe(took.as_secs_f64());
    }

    /// Everything as text.
    pub fn text(&self) -> String {
        self.resident.set(resident_bytes().unwrap_or(0.0));
        let barrier = self.asked.barrier.get().and_then(Weak::upgrade);
        self.replica.show(barrier.and_then(|barrier| barrier.status()).as_ref());
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

fn operation(verb: Option<Verb>) -> &'static str {
    match verb {
        Some(Verb::Read) => "read",
        Some(Verb::List) => "list",
        Some(Verb::Scan) => "scan",
        Some(Verb::Write) => "write",
        Some(Verb::Patch) => "patch",
        Some(Verb::Delete) => "delete",
        Some(Verb::Head) => "head",
        Some(Verb::Help) => "help",
        None => "none",
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.answered(Some(Verb::Read), 200, Duration::from_millis(3));
        metrics.core().unsealed.set(1);
        let text = metrics.text();
        for line in ["holdfast_http_requests_total{operation=\"read\",status=\"200\"} 1", "vault_core_unsealed 1"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(resident_bytes().unwrap() > 0.0);
    }
}
