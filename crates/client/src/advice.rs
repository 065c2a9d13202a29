//! What to do about a denial, in words that stand in events and termination messages. Pure.

/// How to grant `read` on `path` to a service account (`namespace/name`).
///
/// A VaultPolicy can only speak of what is below `k8s/<namespace>/`, so for other paths it says who can help.
pub fn grant(service_account: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default().trim_matches('/');
    let Some((namespace, name)) = service_account.split_once('/').filter(|(namespace, _)| !namespace.is_empty()) else {
        return format!("Grant it in a policy: path {path:?} {{ capabilities = [\"read\"] }}");
    };
    if path.starts_with(&format!("k8s/{namespace}/")) {
        return format!(
            "Grant it in a VaultPolicy of namespace {namespace}: rules: [{{path: {path:?}, capabilities: [read]}}], subjects: \
             [{{serviceAccount: {name}}}]. What is there: kubectl get vaultpolicies -n {namespace}"
        );
    }
    format!(
        "A VaultPolicy of namespace {namespace} grants on k8s/{namespace}/… only: is the path right? If so, an \
         administrator grants it with a policy and an auth role of their own"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_namespace_may_grant_is_a_rule_to_copy() {
        assert_eq!(
            grant("shop/orders", "k8s/shop/kv/data/orders"),
            "Grant it in a VaultPolicy of namespace shop: rules: [{path: \"k8s/shop/kv/data/orders\", capabilities: \
             [read]}], subjects: [{serviceAccount: orders}]. What is there: kubectl get vaultpolicies -n shop"
        );
    }

    #[test]
    fn a_path_of_another_namespace_is_no_rule_of_this_one() {
        for path in ["k8s/bank/kv/data/x", "database/creds/ro", "k8s/shopping/x"] {
            let advice = grant("shop/orders", path);
            assert!(!advice.contains("rules:") && advice.contains("administrator"), "{advice}");
        }
    }

    #[test]
    fn without_a_known_account_it_is_a_policy() {
        assert_eq!(grant("", "kv/x?version=1"), "Grant it in a policy: path \"kv/x\" { capabilities = [\"read\"] }");
    }
}
