//! The custom resources of `holdfast.dev/v1alpha1`, and every name that more than one component must agree on.
//!
//! Data only: what a controller does with it is the operator's business. Start with [`SecretEngine`], [`VaultPolicy`] and
//! [`DynamicCredential`]; [`names`] says where they end up on the server.

pub mod conditions;
pub mod names;

mod dynamic_credential;
mod secret_engine;
mod vault_policy;

pub use dynamic_credential::{
    DynamicCredential, DynamicCredentialSpec, DynamicCredentialStatus, EngineRef, LeaseStatus, PreviousCredential,
    RestartKind, RestartTarget, Rollout, RolloutStrategy, SecretTarget, Target,
};
pub use secret_engine::{
    DatabaseEngine, DatabaseRole, DeletionPolicy, KvEngine, PostgresqlConnection, SecretEngine, SecretEngineSpec,
    SecretEngineStatus, SecretRef,
};
pub use vault_policy::{Capability, PolicyRule, Subject, VaultPolicy, VaultPolicySpec, VaultPolicyStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// All custom resource definitions, in the order in which they are printed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![SecretEngine::crd(), VaultPolicy::crd(), DynamicCredential::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every property of every schema, with its path.
    fn properties(path: &str, schema: &serde_json::Value, found: &mut Vec<(String, serde_json::Value)>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            found.push((path.clone(), property.clone()));
            properties(&path, property, found);
        }
        if schema["items"].is_object() {
            properties(&format!("{path}[]"), &schema["items"], found);
        }
    }

    fn all() -> Vec<(String, serde_json::Value)> {
        let mut found = Vec::new();
        for crd in crds() {
            let crd = serde_json::to_value(&crd).unwrap();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
            properties(kind, &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
        }
        found
    }

    #[test]
    fn every_field_is_described() {
        let all = all();
        assert!(all.len() > 60, "{}", all.len());
        for (path, property) in all {
            let generated = path.matches('.').count() == 1 && !property["description"].is_string();
            let of_root = ["spec", "status"].iter().any(|name| path.ends_with(&format!(".{name}")));
            assert!(property["description"].is_string() || (generated && of_root), "{path} has no description");
        }
    }

    #[test]
    fn every_text_of_a_spec_has_a_longest_length() {
        for (path, property) in all() {
            // Keys of a map have no name of their own; enumerations are short.
            if path.contains(".spec.") && property["type"] == "string" && property["enum"].is_null() {
                assert!(property["maxLength"].is_number(), "{path} has no maxLength");
            }
        }
    }

    #[test]
    fn conditions_are_a_map_keyed_by_type() {
        let conditions: Vec<_> = all().into_iter().filter(|(path, _)| path.ends_with(".status.conditions")).collect();
        assert_eq!(conditions.len(), 3);
        for (path, property) in conditions {
            assert_eq!(property["x-kubernetes-list-type"], "map", "{path}");
            assert_eq!(property["x-kubernetes-list-map-keys"], serde_json::json!(["type"]), "{path}");
        }
    }

    #[test]
    fn the_manifests_of_the_documentation_are_read() {
        let text = r#"
apiVersion: holdfast.dev/v1alpha1
kind: SecretEngine
metadata: {name: orders-db, namespace: shop}
spec:
  database:
    postgresql:
      connectionURL: "postgresql://{{username}}:{{password}}@pg.shop.svc:5432/orders?sslmode=verify-full"
      rootCredentialsRef: {name: pg-root}
      rotateRoot: true
    roles:
    - name: readonly
      creationStatements: ['CREATE ROLE "{{name}}"']
      defaultTTL: 1h
      maxTTL: 24h
  deletionPolicy: Revoke
"#;
        let engine: SecretEngine = serde_saphyr::from_str(text).unwrap();
        assert_eq!(engine.spec.engine(), Some("database"));
        let database = engine.spec.database.unwrap();
        assert!(database.postgresql.verify_connection && database.postgresql.rotate_root);
        assert_eq!(database.roles[0].max_ttl.as_deref(), Some("24h"));

        let text = r#"
apiVersion: holdfast.dev/v1alpha1
kind: DynamicCredential
metadata: {name: orders-ro, namespace: shop}
spec:
  engineRef: {name: orders-db}
  role: readonly
  ttl: 1h
  target:
    secret: {name: orders-db, template: {DATABASE_URL: "postgresql://{{ .username }}:{{ .password }}@pg.shop.svc/orders"}}
  rollout: {restart: [{kind: Deployment, name: orders}], strategy: MakeBeforeBreak, overlap: 5m}
"#;
        let credential: DynamicCredential = serde_saphyr::from_str(text).unwrap();
        assert_eq!(credential.spec.rollout.unwrap().restart[0].kind, RestartKind::Deployment);
    }
}
