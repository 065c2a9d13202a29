//! Which auth roles follow from the VaultPolicies of a namespace. Pure.

use std::collections::BTreeSet;

use holdfast_crd_types::{VaultPolicy, VaultPolicySpec, names};
use kube::ResourceExt;
use serde_json::{Value, json};

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

/// The role of a policy, bound to its subjects; `None` when it has none.
pub fn policy_role(
    namespace: &str,
    policy: &str,
    subjects: &[String],
    token_ttl: Option<&str>,
) -> Result<Option<Value>, Failure> {
    if subjects.is_empty() {
        return Ok(None);
    }
    let mut role = role(namespace, subjects, &[names::policy_name(namespace, policy)]);
    if let Some(ttl) = token_ttl {
        role["token_ttl"] = Value::from(crate::terms::seconds("tokenTTL", ttl)?);
    }
    Ok(Some(role))
}

/// The role of a service account, with every policy that names it (but not `without`); `None` when there is none.
pub fn service_account_role(
    namespace: &str,
    service_account: &str,
    all: &[VaultPolicy],
    without: Option<&str>,
) -> Option<Value> {
    let policies: BTreeSet<String> = all
        .iter()
        .filter(|policy| Some(policy.name_any().as_str()) != without)
        .filter(|policy| policy.spec.subjects.iter().any(|subject| subject.service_account == service_account))
        .map(|policy| names::policy_name(namespace, &policy.name_any()))
        .collect();
    let policies: Vec<String> = policies.into_iter().collect();
    (!policies.is_empty()).then(|| role(namespace, &[service_account.to_owned()], &policies))
}

fn role(namespace: &str, service_accounts: &[String], policies: &[String]) -> Value {
    json!({
        "bound_service_account_names": service_accounts,
        "bound_service_account_namespaces": [namespace],
        "audience": names::AUDIENCE,
        "token_policies": policies,
        "token_ttl": TOKEN_TTL_SECONDS,
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
        }))
        .unwrap()
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
        let wanted = role("shop", &["a".to_owned()], &["p".to_owned(), "q".to_owned()]);
        let mut found = wanted.clone();
        found["token_policies"] = json!(["q", "p"]);
        assert!(stands(&wanted, &found));
        found["token_policies"] = json!(["q", "p", "root"]);
        assert!(!stands(&wanted, &found));
    }
}
