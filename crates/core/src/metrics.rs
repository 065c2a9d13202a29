//! Counters and gauges, with label sets that cannot grow: operations and outcomes, never paths or names.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{Answer, Error, Verb};

/// Everything the core counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    /// 1 when unsealed.
    pub unsealed: Gauge,
    /// Tokens made by this replica since its start.
    pub tokens_created: Counter,
    /// Leases stored, as of the last count.
    pub leases: Gauge,
    /// Requests refused by a rate limit.
    pub rate_limit_violations: Counter,
    /// Leases refused by a lease count.
    pub lease_count_violations: Counter,
    /// Requests refused or undone because no audit device took the entry.
    pub audit_failures: Counter,
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
