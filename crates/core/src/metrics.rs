//! Counters and gauges, with label sets that cannot grow: operations and outcomes, never paths or names.

mod routes;
mod vault;

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

pub use self::{
    routes::{Answered, Times},
    vault::VaultMetrics,
};
use crate::{Answer, Error, Verb, admission::Shed};

/// Everything the core counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    /// 1 when unsealed.
    pub unsealed: Gauge,
    /// Requests that are being served.
    pub in_flight: Gauge,
    /// Milliseconds that requests took, logins apart.
    pub handle_request: Milliseconds,
    /// Milliseconds that logins took.
    pub handle_login_request: Milliseconds,
    /// Tokens made by this replica since its start.
    pub tokens_created: Counter,
    /// Leases stored, as of the last count.
    pub leases: Gauge,
    /// Requests refused by a rate limit.
    pub rate_limit_violations: Counter,
    /// Requests sent away by a limit in flight.
    pub shed: Shed,
    /// Leases refused by a lease count.
    pub lease_count_violations: Counter,
    /// Requests refused or undone because no audit device took the entry.
    pub audit_failures: Counter,
    /// Attempts to unseal with a token or recovery key that may not.
    pub unseal_failures: Counter,
    /// How each audit device does.
    pub audit: AuditMetrics,
    /// What Vault's dashboards look at besides.
    pub vault: VaultMetrics,
}

/// By device: there are as many as somebody has enabled.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    requests: Family<DeviceLabels, Counter>,
    request_failures: Family<DeviceLabels, Counter>,
    responses: Family<DeviceLabels, Counter>,
    response_failures: Family<DeviceLabels, Counter>,
    seconds: Family<DeviceLabels, Histogram, fn() -> Histogram>,
    up: Family<DeviceLabels, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeviceLabels {
    device: String,
}

impl Default for AuditMetrics {
    fn default() -> Self {
        // From a tenth of a millisecond to the limit of a device.
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 17));
        Self {
            requests: Family::default(),
            request_failures: Family::default(),
            responses: Family::default(),
            response_failures: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            up: Family::default(),
        }
    }
}

/// How long something took, from a quarter of a millisecond to half a minute.
#[derive(Clone, Debug)]
pub struct Milliseconds(Histogram);

impl Default for Milliseconds {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.25, 2.0, 18)))
    }
}

impl Milliseconds {
    /// Adds one.
    pub fn observe(&self, took: std::time::Duration) {
        self.0.observe(took.as_secs_f64() * 1000.0);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: OperationLabel,
    outcome: OutcomeLabel,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
enum OperationLabel {
    Read,
    List,
    Write,
    Patch,
    Delete,
    Help,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
enum OutcomeLabel {
    Ok,
    Invalid,
    Denied,
    NotFound,
    Unavailable,
    Failed,
}

impl Metrics {
    /// Registers everything with the names that dashboards know.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("holdfast_core_requests", "Requests by operation and outcome", metrics.requests.clone());
        registry.register("vault_core_unsealed", "1 when this replica is unsealed", metrics.unsealed.clone());
        // Every replica that is unsealed is active.
        registry.register("vault_core_active", "1 when this replica serves", metrics.unsealed.clone());
        registry.register("vault_core_in_flight_requests", "Requests being served", metrics.in_flight.clone());
        registry.register(
            "vault_core_handle_request",
            "Milliseconds that requests took, logins apart",
            metrics.handle_request.0.clone(),
        );
        registry.register(
            "vault_core_handle_login_request",
            "Milliseconds that logins took",
            metrics.handle_login_request.0.clone(),
        );
        registry.register("vault_token_creation", "Tokens made by this replica", metrics.tokens_created.clone());
        registry.register("vault_expire_num_leases", "Leases stored, as of the last count", metrics.leases.clone());
        registry.register(
            "vault_quota_rate_limit_violation",
            "Requests refused by a rate limit",
            metrics.rate_limit_violations.clone(),
        );
        registry.register(
            "vault_quota_lease_count_violation",
            "Leases refused by a lease count",
            metrics.lease_count_violations.clone(),
        );
        registry.register(
            "vault_audit_log_failure",
            "Requests refused for want of audit",
            metrics.audit_failures.clone(),
        );
        registry.register(
            "holdfast_core_unseal_failures",
            "Attempts to unseal with a token or recovery key that may not",
            metrics.unseal_failures.clone(),
        );
        metrics.shed.register(registry);
        metrics.audit.register(registry);
        metrics.vault.register(registry);
        metrics
    }

    pub(crate) fn request(&self, verb: Verb, answer: &Answer) {
        let operation = match verb {
            Verb::Read | Verb::Head => OperationLabel::Read,
            Verb::List | Verb::Scan => OperationLabel::List,
            Verb::Write => OperationLabel::Write,
            Verb::Patch => OperationLabel::Patch,
            Verb::Delete => OperationLabel::Delete,
            Verb::Help => OperationLabel::Help,
        };
        self.requests.get_or_create(&RequestLabels { operation, outcome: outcome(answer) }).inc();
    }
}

impl AuditMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("vault_audit_log_request", "Request entries that a device took", self.requests.clone());
        let failures = self.request_failures.clone();
        registry.register("vault_audit_log_request_failure", "Request entries that a device did not take", failures);
        registry.register("vault_audit_log_response", "Response entries that a device took", self.responses.clone());
        let failures = self.response_failures.clone();
        registry.register("vault_audit_log_response_failure", "Response entries that a device did not take", failures);
        registry.register("holdfast_audit_write_seconds", "Time from entry to safe entry", self.seconds.clone());
        registry.register("holdfast_audit_device_up", "1 unless a device does not answer in time", self.up.clone());
    }

    /// A device took an entry, or did not.
    pub(crate) fn entry(&self, device: &str, is_request: bool, ok: bool, took: Duration) {
        let labels = DeviceLabels { device: device.to_owned() };
        let counter = match (is_request, ok) {
            (true, true) => &self.requests,
            (true, false) => &self.request_failures,
            (false, true) => &self.responses,
            (false, false) => &self.response_failures,
        };
        counter.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A device answers, or does not.
    pub(crate) fn up(&self, device: &str, up: bool) {
        self.up.get_or_create(&DeviceLabels { device: device.to_owned() }).set(i64::from(up));
    }

    /// A device was disabled.
    pub(crate) fn forget(&self, device: &str) {
        self.up.remove(&DeviceLabels { device: device.to_owned() });
    }
}

fn outcome(answer: &Answer) -> OutcomeLabel {
    use holdfast_logical::Error as Logical;
    let Answer::Error(error) = answer else { return OutcomeLabel::Ok };
    match error {
        Error::Logical(Logical::Denied(_)) => OutcomeLabel::Denied,
        Error::Logical(Logical::NotFound(_)) => OutcomeLabel::NotFound,
        Error::Logical(
            Logical::Invalid(_) | Logical::Credentials(_) | Logical::UnsupportedOperation | Logical::Status { .. },
        ) => OutcomeLabel::Invalid,
        Error::Logical(Logical::Unavailable(_)) | Error::Sealed | Error::NotInitialized => OutcomeLabel::Unavailable,
        Error::Logical(Logical::Internal(_)) | Error::Audit(_) => OutcomeLabel::Failed,
    }
}
