//! Numbers for `/metrics`.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

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
    /// Releases that are owed to the server.
    pub releases: Gauge,
}

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
        registry.register("releases_pending", "Releases that are owed to the server", self.releases.clone());
    }
}

/// Label for an outcome.
pub fn outcome(result: &'static str) -> Outcome {
    Outcome { result }
}
