//! Which auth roles follow from the VaultPolicies of a namespace. Pure.

use std::collections::BTreeSet;

use holdfast_crd_types::{VaultPolicy, VaultPolicySpec, names};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::render;
use crate::failure::Failure;

/// Lifetime of the logins of pods where a policy says nothing. They are renewed while they are used, and what a pod left
/// behind is gone soon: the server's default is a month.
const TOKEN_TTL_SECONDS: u64 = 3600;

/// Service accounts of a policy, sorted, without repeats.
pub fn subjects(spec: &VaultPolicySpec) -> Vec<String> {
    let set: BTreeSet<_> = spec.subjects.iter().map(|subject| subject.service_account.clone()).collect();
    set.into_iter().collect()
}

/// Service accounts whose role must be computed anew: those that had it and those that get it.
pub fn touched(former: &[String], subjects: &[String]) -> Vec<String> {
    let set: BTreeSet<_> = former.iter().chain(subjects).cloned().collect();
    set.into_iter().collect()
}

/// The lifetime of logins that a policy asks for, in seconds.
pub fn token_ttl(spec: &VaultPolicySpec) -> Result<Option<u64>, Failure> {
    spec.token_ttl.as_deref().map(|ttl| crate::terms::seconds("spec.tokenTTL", ttl)).transpose()
}

/// The role of a policy, bound to its subjects; `None` when it has none.
pub fn policy_role(namespace: &str, policy: &str, subjects: &[String], token_ttl: Option<u64>) -> Option<Value> {
    (!subjects.is_empty()).then(|| role(namespace, subjects, &[names::policy_name(namespace, policy)], token_ttl))
}

/// The role of a service account, with every policy in force that names it (but not `without`), and the shortest of the
/// lifetimes that they ask for; `None` when there is none.
pub fn service_account_role(
    namespace: &str,
    service_account: &str,
    all: &[VaultPolicy],
    without: Option<&str>,
) -> Option<Value> {
    let naming: Vec<&VaultPolicy> = all
        .iter()
        .filter(|policy| Some(policy.name_any().as_str()) != without)
        .filter(|policy| in_force_for(namespace, policy).contains(service_account))
        .collect();
    let policies: BTreeSet<String> =
        naming.iter().map(|policy| names::policy_name(namespace, &policy.name_any())).collect();
    let policies: Vec<String> = policies.into_iter().collect();
    let token_ttl = naming.iter().filter_map(|policy| token_ttl(&policy.spec).ok().flatten()).min();
    (!policies.is_empty()).then(|| role(namespace, &[service_account.to_owned()], &policies, token_ttl))
}

/// Service accounts that a policy applies to now: none before it is on the server; those that it had, when it was edited
/// into something that cannot be.
fn in_force_for(namespace: &str, policy: &VaultPolicy) -> BTreeSet<String> {
    let Some(status) = policy.status.as_ref().filter(|status| status.policy.is_some()) else { return BTreeSet::new() };
    let sound = render::policy(namespace, &policy.spec).is_ok() && token_ttl(&policy.spec).is_ok();
    if sound { subjects(&policy.spec).into_iter().collect() } else { status.service_accounts.iter().cloned().collect() }
}

fn role(namespace: &str, service_accounts: &[String], policies: &[String], token_ttl: Option<u64>) -> Value {
    json!({
        "bound_service_account_names": service_accounts,
        "bound_service_account_namespaces": [namespace],
        "audience": names::AUDIENCE,
        "token_policies": policies,
        "token_ttl": token_ttl.unwrap_or(TOKEN_TTL_SECONDS),
    })
}

/// Has the server this role?
pub fn stands(wanted: &Value, found: &Value) -> bool {
    let sorted = |value: &Value| {
        let mut items: Vec<String> = match value {
            Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            Value::String(text) => text.split(',').map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        items.sort();
        items
    };
    wanted.as_object().into_iter().flatten().all(|(key, value)| match value {
        Value::Array(_) => sorted(value) == sorted(&found[key]),
        _ => *value == found[key],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, subjects: &[&str]) -> VaultPolicy {
        let subjects: Vec<_> = subjects.iter().map(|name| json!({ "serviceAccount": name })).collect();
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "VaultPolicy",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "rules": [], "subjects": subjects },
            "status": { "policy": format!("k8s:shop:{name}") },
        }))
        .unwrap()
    }

    #[test]
    fn a_policy_that_is_not_on_the_server_is_in_no_role() {
        let mut outside = policy("outside", &["orders"]);
        outside.spec.rules = serde_json::from_value(json!([{ "path": "sys/*", "capabilities": ["read"] }])).unwrap();
        outside.status = None;
        let role = service_account_role("shop", "orders", &[outside.clone(), policy("a", &["orders"])], None).unwrap();
        assert_eq!(role["token_policies"], json!(["k8s:shop:a"]));
        assert_eq!(service_account_role("shop", "orders", &[outside.clone()], None), None);

        // Edited into this: what was written before stays in force, for those who had it.
        outside.status =
            serde_json::from_value(json!({ "policy": "k8s:shop:outside", "serviceAccounts": ["billing"] })).ok();
        assert_eq!(service_account_role("shop", "orders", &[outside.clone()], None), None);
        assert!(service_account_role("shop", "billing", &[outside], None).is_some());
    }

    #[test]
    fn the_shortest_lifetime_of_the_policies_that_name_the_account_counts() {
        let mut all = [policy("a", &["orders"]), policy("b", &["orders"]), policy("c", &["orders", "billing"])];
        all[1].spec.token_ttl = Some("90m".to_owned());
        all[2].spec.token_ttl = Some("20m".to_owned());
        let ttl =
            |account: &str, without| service_account_role("shop", account, &all, without).unwrap()["token_ttl"].clone();
        assert_eq!(
            (ttl("orders", None), ttl("orders", Some("c")), ttl("billing", None)),
            (1200.into(), 5400.into(), 1200.into())
        );
        assert_eq!(service_account_role("shop", "orders", &all[..1], None).unwrap()["token_ttl"], 3600);
    }

    #[test]
    fn a_service_account_has_the_union_of_the_policies_that_name_it() {
        let all = [policy("b", &["orders", "billing"]), policy("a", &["orders"]), policy("c", &["billing"])];
        let role = service_account_role("shop", "orders", &all, None).unwrap();
        assert_eq!(role["token_policies"], json!(["k8s:shop:a", "k8s:shop:b"]));
        assert_eq!(role["bound_service_account_names"], json!(["orders"]));
        assert_eq!(role["bound_service_account_namespaces"], json!(["shop"]));
        assert_eq!(role["audience"], "holdfast");
        assert_eq!(role["token_ttl"], 3600);
    }

    #[test]
    fn a_policy_that_goes_is_left_out_and_the_last_one_takes_the_role_with_it() {
        let all = [policy("a", &["orders"]), policy("b", &["orders"])];
        let role = service_account_role("shop", "orders", &all, Some("a")).unwrap();
        assert_eq!(role["token_policies"], json!(["k8s:shop:b"]));
        assert_eq!(service_account_role("shop", "orders", &all[..1], Some("a")), None);
        assert_eq!(service_account_role("shop", "nobody", &all, None), None);
    }

    #[test]
    fn a_subject_that_was_taken_out_is_computed_anew() {
        let subjects = subjects(&policy("a", &["x", "x", "b"]).spec);
        assert_eq!(subjects, ["b", "x"]);
        assert_eq!(touched(&["gone".to_owned(), "b".to_owned()], &subjects), ["b", "gone", "x"]);
    }

    #[test]
    fn the_order_of_lists_is_no_difference_but_another_entry_is() {
        let wanted = role("shop", &["a".to_owned()], &["p".to_owned(), "q".to_owned()], None);
        let mut found = wanted.clone();
        found["token_policies"] = json!(["q", "p"]);
        assert!(stands(&wanted, &found));
        found["token_policies"] = json!(["q", "p", "root"]);
        assert!(!stands(&wanted, &found));
    }
}
