//! Can the credential be had? Engine, role and duration, checked against the SecretEngine object, with words that say
//! what to change.

use std::time::Duration;

use holdfast_base::duration;
use holdfast_crd_types::{DynamicCredential, SecretEngine, conditions, names};
use kube::{Api, ResourceExt};

use super::plan::Wanted;
use crate::{
    context::Context,
    failure::{Failure, While},
    terms::seconds,
};

/// Overlap of an object without rollout.
const OVERLAP: Duration = Duration::from_secs(300);

/// What the object asks for; on failure also that, as far as it is known, for a credential that is out already.
pub async fn wanted(ctx: &Context, object: &DynamicCredential) -> Result<Wanted, (Option<Wanted>, Failure)> {
    let namespace = object.namespace().unwrap_or_default();
    let asked = asked(object).map_err(|failure| (None, failure))?;
    let api: Api<SecretEngine> = Api::namespaced(ctx.kube.clone(), &namespace);
    let found = api.get_opt(&object.spec.engine_ref.name).await.doing("reading the SecretEngine");
    let found = match found {
        Ok(found) => found,
        Err(failure) => return Err((Some(asked), failure)),
    };
    match check(object, found.as_ref(), asked.ttl) {
        Ok(max) => Ok(Wanted { max, ..asked }),
        Err(failure) => Err((Some(asked), failure)),
    }
}

fn asked(object: &DynamicCredential) -> Result<Wanted, Failure> {
    let spec = &object.spec;
    let namespace = object.namespace().unwrap_or_default();
    let overlap = match &spec.rollout {
        Some(rollout) => seconds("spec.rollout.overlap", &rollout.overlap)?,
        None => OVERLAP.as_secs(),
    };
    Ok(Wanted {
        path: names::credential_path(&namespace, &spec.engine_ref.name, &spec.role),
        ttl: spec.ttl.as_deref().map(|ttl| seconds("spec.ttl", ttl)).transpose()?.filter(|ttl| *ttl > 0),
        max: None,
        overlap,
        rotate: object.annotations().get(names::ANNOTATION_ROTATE).cloned(),
    })
}

/// The role's maximum in seconds, if everything is in order.
fn check(object: &DynamicCredential, engine: Option<&SecretEngine>, ttl: Option<u64>) -> Result<Option<u64>, Failure> {
    let (name, role) = (&object.spec.engine_ref.name, &object.spec.role);
    let Some(engine) = engine.filter(|engine| engine.metadata.deletion_timestamp.is_none()) else {
        let message =
            format!("there is no SecretEngine {name} in this namespace; make it, or correct spec.engineRef.name");
        return Err(Failure::elsewhere("EngineNotFound", message));
    };
    let Some(database) = &engine.spec.database else {
        let kind = engine.spec.engine().unwrap_or("unknown");
        let message =
            format!("SecretEngine {name} is a {kind} engine, which makes no credentials; name a database engine");
        return Err(Failure::edit("EngineHasNoRoles", message));
    };
    let Some(found) = database.roles.iter().find(|found| found.name == *role) else {
        let known: Vec<_> = database.roles.iter().map(|role| role.name.as_str()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        let message = format!("SecretEngine {name} has no role {role:?}: {known}");
        return Err(Failure::elsewhere("RoleNotFound", message));
    };
    let text = found.max_ttl.as_ref().or(engine.spec.max_lease_ttl.as_ref());
    let max = text.and_then(|text| duration::parse(text).ok()).map(|max| max.as_secs()).filter(|max| *max > 0);
    if let (Some(ttl), Some(max)) = (ttl, max)
        && ttl > max
    {
        let (asked, most) = (object.spec.ttl.as_deref().unwrap_or_default(), text.map_or("", String::as_str));
        let message = format!(
            "spec.ttl: {asked} is more than the role's maximum of {most}; lower ttl, or raise maxTTL in SecretEngine {name}"
        );
        return Err(Failure::elsewhere("TtlTooLong", message));
    }
    let status = engine.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
    match ready.filter(|ready| ready.observed_generation == engine.metadata.generation) {
        None => return Err(Failure::soon("EngineNotReady", format!("SecretEngine {name} is being worked on"))),
        Some(ready) if ready.status != "True" => {
            let message = format!("SecretEngine {name} is not ready: {} ({})", ready.message, ready.reason);
            return Err(Failure::elsewhere("EngineNotReady", message));
        }
        Some(_) => {}
    }
    Ok(max)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(ttl: &str) -> DynamicCredential {
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "DynamicCredential",
            "metadata": { "name": "orders-ro", "namespace": "shop" },
            "spec": { "engineRef": { "name": "orders-db" }, "role": "readonly", "ttl": ttl },
        }))
        .unwrap()
    }

    fn engine(ready: &str, block: Value) -> SecretEngine {
        serde_json::from_value(json!({
            "apiVersion": "holdfast.dev/v1alpha1", "kind": "SecretEngine",
            "metadata": { "name": "orders-db", "namespace": "shop", "generation": 2 },
            "spec": block,
            "status": { "observedGeneration": 2, "conditions": [{ "type": "Ready", "status": ready, "reason": "DatabaseUnreachable", "observedGeneration": 2,
                "message": "no route", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        }))
        .unwrap()
    }

    fn database() -> Value {
        json!({ "database": {
            "postgresql": { "connectionURL": "postgresql://x/", "rootCredentialsRef": { "name": "r" } },
            "roles": [{ "name": "readonly", "creationStatements": ["x"], "maxTTL": "24h" }],
        }})
    }

    fn reason(object: &DynamicCredential, engine: Option<&SecretEngine>) -> &'static str {
        let ttl = asked(object).unwrap().ttl;
        check(object, engine, ttl).map_or_else(|failure| failure.reason, |_| "ok")
    }

    #[test]
    fn what_is_in_order_knows_its_maximum() {
        assert_eq!(check(&object("1h"), Some(&engine("True", database())), Some(3600)).unwrap(), Some(86_400));
        assert_eq!(asked(&object("1h")).unwrap().path, "k8s/shop/orders-db/creds/readonly");
    }

    #[test]
    fn every_way_to_be_wrong_has_its_word() {
        assert_eq!(reason(&object("1h"), None), "EngineNotFound");
        assert_eq!(reason(&object("1h"), Some(&engine("False", database()))), "EngineNotReady");
        assert_eq!(reason(&object("1h"), Some(&engine("True", json!({ "kv": { "version": 2 } })))), "EngineHasNoRoles");
        let mut other = object("1h");
        other.spec.role = "writer".to_owned();
        assert_eq!(reason(&other, Some(&engine("True", database()))), "RoleNotFound");
        assert_eq!(reason(&object("48h"), Some(&engine("True", database()))), "TtlTooLong");
    }

    #[test]
    fn a_ttl_that_is_too_long_says_what_to_do() {
        let failure = check(&object("48h"), Some(&engine("True", database())), Some(172_800)).unwrap_err();
        assert_eq!(
            failure.message,
            "spec.ttl: 48h is more than the role's maximum of 24h; lower ttl, or raise maxTTL in SecretEngine orders-db"
        );
    }
}
