//! Metrics by the names of Vault's, for dashboards that exist: how long parts of the core took, in milliseconds, and how much
//! there is. What barrier and mounts were asked for (`barrier.*`, `cache.*`, `route.*`) is counted where it happens.

use std::time::Duration;

use holdfast_logical::Operation;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Milliseconds;

/// What is measured and counted.
#[derive(Clone, Debug, Default)]
pub struct VaultMetrics {
    /// Who asks: token, entity, policies.
    pub fetch_acl_and_token: Milliseconds,
    /// The same, and what the policies say.
    pub check_token: Milliseconds,
    /// A credential was made and leased.
    pub register: Milliseconds,
    /// A token was made for a login.
    pub register_auth: Milliseconds,
    /// Leased credentials made by this replica.
    pub lease_creation: Counter,
    /// Tokens stored, as of the last count.
    pub tokens: Gauge,
    /// Entities, as of the last count.
    pub entities: Gauge,
    /// Aliases of entities, as of the last count.
    pub aliases: Gauge,
    mounts: Family<TableLabels, Gauge>,
    calls: [Milliseconds; CALLS.len()],
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TableLabels {
    r#type: &'static str,
}

/// A name and which calls it measures.
type Call = (&'static str, fn(&str, Operation) -> bool);

/// Calls of the core's own paths, by the names that Vault has for them.
const CALLS: [Call; 13] = [
    ("policy_get_policy", |route, operation| is_policy(route) && operation == Operation::Read),
    ("policy_set_policy", |route, operation| {
        is_policy(route) && matches!(operation, Operation::Create | Operation::Update)
    }),
    ("policy_delete_policy", |route, operation| is_policy(route) && operation == Operation::Delete),
    ("policy_list_policies", |route, _| matches!(route, "policy" | "policies/acl")),
    ("token_create", |route, _| matches!(route, "create" | "create-orphan" | "create/:role")),
    ("token_lookup", |route, _| matches!(route, "lookup" | "lookup-self" | "lookup-accessor")),
    ("token_revoke_tree", |route, _| matches!(route, "token revoke" | "revoke-self" | "revoke-accessor")),
    ("token_revoke", |route, _| route == "revoke-orphan"),
    ("expire_renew_token", |route, _| matches!(route, "token renew" | "renew-self" | "renew-accessor")),
    ("expire_renew", |route, _| matches!(of_leases(route), "renew" | "renew/*lease_id")),
    ("expire_revoke", |route, _| matches!(of_leases(route), "revoke" | "revoke/*lease_id")),
    ("expire_revoke_prefix", |route, _| of_leases(route) == "revoke-prefix/*prefix"),
    ("expire_revoke_force", |route, _| of_leases(route) == "revoke-force/*prefix"),
];

fn is_policy(route: &str) -> bool {
    matches!(route, "policy/*name" | "policies/acl/*name")
}

fn of_leases(route: &str) -> &str {
    route.strip_prefix("leases/").unwrap_or(route)
}

impl VaultMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut timed =
            |name: String, help: &str, metric: &Milliseconds| registry.register(name, help, metric.0.clone());
        timed(
            "vault_core_fetch_acl_and_token".to_owned(),
            "Milliseconds to find token, entity and policies",
            &self.fetch_acl_and_token,
        );
        timed(
            "vault_core_check_token".to_owned(),
            "Milliseconds from a request to what its policies say",
            &self.check_token,
        );
        timed("vault_expire_register".to_owned(), "Milliseconds to make and lease a credential", &self.register);
        timed(
            "vault_expire_register_auth".to_owned(),
            "Milliseconds to make the token of a login",
            &self.register_auth,
        );
        for ((name, _), metric) in CALLS.iter().zip(&self.calls) {
            timed(format!("vault_{name}"), "Milliseconds of such calls", metric);
        }
        let creation = self.lease_creation.clone();
        registry.register("vault_secret_lease_creation", "Leased credentials made by this replica", creation);
        registry.register("vault_token_count", "Tokens stored, as of the last count", self.tokens.clone());
        registry.register("vault_identity_num_entities", "Entities, as of the last count", self.entities.clone());
        registry.register("vault_identity_entity_count", "Entities, as of the last count", self.entities.clone());
        registry.register("vault_identity_entity_alias_count", "Aliases, as of the last count", self.aliases.clone());
        registry.register("vault_core_mount_table_num_entries", "Mounts of all namespaces", self.mounts.clone());
    }

    /// A call of the core's own path took so long.
    pub fn called(&self, kind: &str, route: &str, operation: Operation, took: Duration) {
        // Two routes have the names of others in another mount.
        let route = match (kind, route) {
            ("token", "revoke") => "token revoke",
            ("token", "renew") => "token renew",
            (_, route) => route,
        };
        if let Some(at) = CALLS.iter().position(|(_, measures)| measures(route, operation)) {
            self.calls.iter().skip(at).take(1).for_each(|metric| metric.observe(took));
        }
    }

    /// Sizes of the mount tables.
    pub fn mounted(&self, secret: usize, auth: usize) {
        for (r#type, count) in [("logical", secret), ("auth", auth)] {
            self.mounts.get_or_create(&TableLabels { r#type }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn calls_are_counted_by_vaults_names() {
        let (metrics, mut registry) = (VaultMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        for (kind, route, operation) in [
            ("system", "policies/acl/*name", Operation::Read),
            ("system", "policy/*name", Operation::Update),
            ("system", "leases/revoke", Operation::Update),
            ("system", "revoke", Operation::Update),
            ("token", "revoke", Operation::Update),
            ("token", "create/:role", Operation::Update),
            ("system", "mounts", Operation::Read),
        ] {
            metrics.called(kind, route, operation, Duration::from_millis(2));
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (name, count) in [
            ("policy_get_policy", 1),
            ("policy_set_policy", 1),
            ("policy_delete_policy", 0),
            ("expire_revoke", 2),
            ("token_revoke_tree", 1),
            ("token_create", 1),
        ] {
            assert!(text.contains(&format!("\nvault_{name}_count {count}\n")), "{name}: {text}");
        }
    }
}
