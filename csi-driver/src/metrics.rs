//! Numbers for `/metrics`.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge},
    registry::Registry,
};

use crate::volumes::Volumes;

/// Outcome of something.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    /// `ok`, or why not.
    pub result: &'static str,
}

/// The driver's metrics.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Publish requests that had work to do.
    pub publishes: Family<Outcome, Counter>,
    /// Publish requests for volumes that are mounted.
    pub republishes: Counter,
    /// Requests of the secrets-store driver.
    pub provided: Family<Outcome, Counter>,
    /// Renewals of leases.
    pub renewals: Family<Outcome, Counter>,
    /// Credentials replaced in place.
    pub rotations: Family<Outcome, Counter>,
    /// Payloads shown after the first.
    pub updates: Counter,
    /// Volumes that are kept fresh.
    pub volumes: Gauge,
    /// Volumes of which something is stale or expired.
    pub stale: Gauge,
    /// Mounted volumes that wait for kubelet since a restart.
    pub unknown: Gauge,
    /// Releases that are owed to the server.
    pub releases: Gauge,
}

/// Something with a lease.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OfItem {
    /// Of the pod.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// As the pod calls it.
    pub volume: String,
    /// Credential or path.
    pub item: String,
}

/// How long leases last, computed when somebody asks.
struct Left(Weak<Volumes>);

impl Metrics {
    /// Makes them known as `holdfast_csi_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("holdfast_csi");
        registry.register("publishes", "Publish requests that had work to do", self.publishes.clone());
        registry.register("republishes", "Publish requests for mounted volumes", self.republishes.clone());
        registry.register("provided", "Requests of the secrets-store driver", self.provided.clone());
        registry.register("renewals", "Renewals of leases", self.renewals.clone());
        registry.register("rotations", "Credentials replaced in place", self.rotations.clone());
        registry.register("updates", "Payloads shown after the first", self.updates.clone());
        registry.register("volumes", "Volumes that are kept fresh", self.volumes.clone());
        registry.register("volumes_stale", "Volumes of which something is stale or expired", self.stale.clone());
        registry.register(
            "volumes_unknown",
            "Mounted volumes that wait for kubelet since a restart of the driver",
            self.unknown.clone(),
        );
        registry.register("releases_pending", "Releases that are owed to the server", self.releases.clone());
    }
}

/// Makes `holdfast_csi_seconds_to_expiry` known.
pub fn register_leases(registry: &mut Registry, volumes: &Arc<Volumes>) {
    let registry = registry.sub_registry_with_prefix("holdfast_csi");
    registry.register_collector(Box::new(Left(Arc::downgrade(volumes))));
}

impl Collector for Left {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Seconds until the lease or certificate of a volume's item ends; negative after it";
        let mut metric = encoder.encode_descriptor("seconds_to_expiry", help, None, MetricType::Gauge)?;
        for (of, seconds) in self.0.upgrade().map(|volumes| volumes.leases_left()).unwrap_or_default() {
            ConstGauge::new(seconds).encode(metric.encode_family(&of)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Left")
    }
}

/// Label for an outcome.
pub fn outcome(result: &'static str) -> Outcome {
    Outcome { result }
}
