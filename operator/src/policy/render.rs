//! From a VaultPolicy to the text of a policy that stays below its namespace. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use holdfast_crd_types::{Capability, PolicyRule, VaultPolicySpec, names};

use crate::failure::Failure;

/// A policy as the server gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// HCL.
    pub text: String,
    /// Number of paths that it speaks of.
    pub paths: usize,
}

/// Whoever may read a path may hear that it has changed: agents of pods then need not ask again and again.
const HEARS: &str = ", \"subscribe\"] subscribe_event_types = [\"kv-v1/*\", \"kv-v2/*\"]";
/// What opens the connection that events come over.
const SUBSCRIBES: &str = "path \"sys/events/subscribe/kv*\" { capabilities = [\"read\"] }\n";

/// Renders rules, or checks HCL. Fails when a path is not below `k8s/<namespace>/`.
pub fn policy(namespace: &str, spec: &VaultPolicySpec) -> Result<Policy, Failure> {
    match &spec.hcl {
        Some(text) => check(namespace, text),
        None => rules(namespace, &spec.rules),
    }
}

fn rules(namespace: &str, rules: &[PolicyRule]) -> Result<Policy, Failure> {
    let mut text = String::new();
    let mut hearing = false;
    for (index, rule) in rules.iter().enumerate() {
        let path = match &rule.engine {
            Some(engine) => format!("{}/{}", names::mount_path(namespace, engine), rule.path.trim_start_matches('/')),
            None => rule.path.trim_start_matches('/').to_owned(),
        };
        inside(namespace, &path).map_err(|reason| outside(&format!("rules[{index}]"), &path, reason, namespace))?;
        let mut capabilities: Vec<Capability> = rule.capabilities.clone();
        capabilities.sort();
        capabilities.dedup();
        let words: Vec<_> = capabilities.iter().map(|capability| format!("{:?}", capability.as_str())).collect();
        let reads = capabilities.contains(&Capability::Read);
        let end = if reads { HEARS } else { "]" };
        // A path may hold no quote and no control character (checked), so Rust's escapes are HCL's.
        let _ = writeln!(text, "path {path:?} {{ capabilities = [{}{end} }}", words.join(", "));
        hearing |= reads;
    }
    if hearing {
        text.push_str(SUBSCRIBES);
    }
    Ok(Policy { text, paths: rules.len() })
}

/// Engines that rules name and that are not among these, sorted, without repeats.
pub fn absent(spec: &VaultPolicySpec, engines: &[String]) -> Vec<String> {
    let named: BTreeSet<_> = spec.rules.iter().filter_map(|rule| rule.engine.clone()).collect();
    named.into_iter().filter(|engine| !engines.contains(engine)).collect()
}

fn check(namespace: &str, text: &str) -> Result<Policy, Failure> {
    let unreadable = |reason: String| Failure::edit("PolicyNotParsed", format!("spec.hcl: {reason}"));
    let body = holdfast_hcl::parse(text).map_err(|error| unreadable(error.to_string()))?;
    // A word that is not understood may be one that the server understands: nothing but paths gets through.
    if let Some((key, position)) = body.keys().find(|(key, _)| *key != "path" && *key != "name") {
        return Err(unreadable(format!(
            "line {}, column {}: only path is allowed here, found {key:?}",
            position.line, position.column
        )));
    }
    let paths = body.blocks("path", 1).map_err(|error| unreadable(error.to_string()))?;
    for found in &paths {
        for path in &found.labels {
            let place = format!("spec.hcl line {}", found.position.line);
            inside(namespace, path).map_err(|reason| outside(&place, path, reason, namespace))?;
        }
    }
    Ok(Policy { text: text.to_owned(), paths: paths.len() })
}

/// Is everything that the path matches below the prefix of the namespace?
fn inside(namespace: &str, path: &str) -> Result<(), &'static str> {
    let prefix = names::namespace_prefix(namespace);
    if path.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
        return Err("it holds a quote, a backslash or a control character");
    }
    if path.contains("{{") || path.contains("${") {
        return Err("it holds a placeholder");
    }
    if path.split('/').any(|segment| segment == ".." || segment == ".") {
        return Err("it holds . or ..");
    }
    // Literally: `k8s/*` or `k8s/+/x` match other namespaces too.
    if !path.starts_with(&prefix) || path.len() == prefix.len() {
        return Err("it is not below the namespace's prefix");
    }
    Ok(())
}

fn outside(place: &str, path: &str, reason: &str, namespace: &str) -> Failure {
    let prefix = names::namespace_prefix(namespace);
    let message = format!(
        "{place}: path {path:?} is not allowed: {reason}; objects of namespace {namespace} may only grant on {prefix}…, or name \
         an engine of theirs"
    );
    Failure::edit("OutsideNamespace", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> VaultPolicySpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rules_become_hcl_that_is_read_back() {
        let spec = spec(json!({ "rules": [
            { "engine": "orders-db", "path": "creds/readonly", "capabilities": ["read"] },
            { "path": "k8s/shop/kv/data/orders/*", "capabilities": ["update", "read", "read"] },
        ]}));
        let policy = policy("shop", &spec).unwrap();
        assert_eq!(
            policy.text,
            "path \"k8s/shop/orders-db/creds/readonly\" { capabilities = [\"read\", \"subscribe\"] subscribe_event_types = \
             [\"kv-v1/*\", \"kv-v2/*\"] }\n\
             path \"k8s/shop/kv/data/orders/*\" { capabilities = [\"read\", \"update\", \"subscribe\"] \
             subscribe_event_types = [\"kv-v1/*\", \"kv-v2/*\"] }\n\
             path \"sys/events/subscribe/kv*\" { capabilities = [\"read\"] }\n"
        );
        assert_eq!(holdfast_hcl::parse(&policy.text).unwrap().blocks("path", 1).unwrap().len(), 3);
    }

    #[test]
    fn engines_that_are_not_there_are_named_once() {
        let rule = |engine: &str| json!({ "engine": engine, "path": "creds/ro", "capabilities": ["read"] });
        let whole = json!({ "path": "k8s/shop/x", "capabilities": ["read"] });
        let spec = spec(json!({ "rules": [rule("dn"), rule("db"), rule("dn"), whole] }));
        assert_eq!(absent(&spec, &["db".to_owned()]), ["dn"]);
    }

    #[test]
    fn nothing_outside_the_namespace_is_granted_whichever_way_it_is_written() {
        for path in [
            "sys/mounts",
            "k8s/bank/kv/data/x",
            "k8s/*",
            "k8s/+/kv/*",
            "*",
            "+/shop/x",
            "k8s/shop",
            "k8s/shop/",
            "k8s/shop/../bank/x",
            "k8s/shopping/x",
            "k8s/shop/{{identity.entity.name}}/x",
            "k8s/shop/a\"b",
        ] {
            let by_rule = spec(json!({ "rules": [{ "path": path, "capabilities": ["read"] }] }));
            assert_eq!(policy("shop", &by_rule).unwrap_err().reason, "OutsideNamespace", "{path}");
            if path.contains('"') {
                continue;
            }
            for hcl in [
                format!("path \"{path}\" {{ capabilities = [\"read\"] }}"),
                format!("path = {{ \"{path}\" = {{ policy = \"read\" }} }}"),
                format!("{{\"path\": {{\"{path}\": {{\"capabilities\": [\"read\"]}}}}}}"),
            ] {
                assert!(policy("shop", &spec(json!({ "hcl": hcl }))).is_err(), "{hcl}");
            }
        }
        let climbing =
            spec(json!({ "rules": [{ "engine": "kv", "path": "../../bank/kv/*", "capabilities": ["read"] }] }));
        assert_eq!(policy("shop", &climbing).unwrap_err().reason, "OutsideNamespace");
    }

    #[test]
    fn hcl_of_the_own_namespace_goes_as_it_is() {
        let hcl = "# ours\npath \"k8s/shop/kv/data/*\" { capabilities = [\"read\"] }";
        let policy = policy("shop", &spec(json!({ "hcl": hcl }))).unwrap();
        assert_eq!((policy.text.as_str(), policy.paths), (hcl, 1));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        let failure = policy("shop", &spec(json!({ "hcl": "path \"k8s/shop/x\" {" }))).unwrap_err();
        assert_eq!(failure.reason, "PolicyNotParsed");
        assert!(failure.message.contains("line 1"), "{failure}");
        let failure = policy("shop", &spec(json!({ "hcl": "rule \"x\" {}" }))).unwrap_err();
        assert!(failure.message.contains("only path is allowed"), "{failure}");
    }
}
