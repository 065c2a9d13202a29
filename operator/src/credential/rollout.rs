//! Restarting the workloads that read the Secret, and waiting for them before the former credential is revoked.

use holdfast_crd_types::{RestartKind, RestartTarget, names};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::{Failure, While},
};

fn api(ctx: &Context, namespace: &str, kind: RestartKind) -> Api<DynamicObject> {
    let (kind, plural) = match kind {
        RestartKind::Deployment => ("Deployment", "deployments"),
        RestartKind::StatefulSet => ("StatefulSet", "statefulsets"),
        RestartKind::DaemonSet => ("DaemonSet", "daemonsets"),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind), plural);
    Api::namespaced_with(ctx.kube.clone(), namespace, &resource)
}

/// Restarts a workload for this credential, once however often it is called; `false` when the workload is not there.
pub async fn restart(ctx: &Context, namespace: &str, target: &RestartTarget, mark: &str) -> Result<bool, Failure> {
    let annotations = json!({ names::ANNOTATION_RESTARTED: mark });
    let body = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api(ctx, namespace, target.kind).patch(&target.name, &params, &Patch::Merge(&body)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        other => other.map(|_| true).doing(&format!("restarting {:?} {}", target.kind, target.name)),
    }
}

/// The first workload whose rollout is still going on.
pub async fn waiting(ctx: &Context, namespace: &str, targets: &[RestartTarget]) -> Result<Option<String>, Failure> {
    for target in targets {
        let found = api(ctx, namespace, target.kind).get_opt(&target.name).await;
        let name = format!("{:?} {}", target.kind, target.name);
        if let Some(found) = found.doing(&format!("looking at {name}"))?
            && !complete(target.kind, found.metadata.generation, &found.data)
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Do all pods of the workload run its newest template, and are they available? What kubectl rollout status asks.
fn complete(kind: RestartKind, generation: Option<i64>, object: &Value) -> bool {
    let status = &object["status"];
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let observed = status["observedGeneration"].as_i64() >= generation;
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    observed
        && match kind {
            RestartKind::Deployment => {
                number(&status["updatedReplicas"]) >= wanted
                    && number(&status["replicas"]) <= wanted
                    && number(&status["availableReplicas"]) >= wanted
            }
            RestartKind::StatefulSet => {
                number(&status["updatedReplicas"]) >= wanted && number(&status["readyReplicas"]) >= wanted
            }
            RestartKind::DaemonSet => {
                let wanted = number(&status["desiredNumberScheduled"]);
                number(&status["updatedNumberScheduled"]) >= wanted && number(&status["numberAvailable"]) >= wanted
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_done_when_only_new_pods_are_there_and_available() {
        let mut object = json!({ "spec": { "replicas": 2 }, "status": {
            "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 } });
        assert!(complete(RestartKind::Deployment, Some(3), &object));
        assert!(!complete(RestartKind::Deployment, Some(4), &object));
        object["status"]["replicas"] = json!(3);
        assert!(!complete(RestartKind::Deployment, Some(3), &object));
    }

    #[test]
    fn a_daemon_set_is_done_when_every_node_has_the_new_pod() {
        let mut object = json!({ "status": { "observedGeneration": 1, "desiredNumberScheduled": 3,
            "updatedNumberScheduled": 3, "numberAvailable": 2 } });
        assert!(!complete(RestartKind::DaemonSet, Some(1), &object));
        object["status"]["numberAvailable"] = json!(3);
        assert!(complete(RestartKind::DaemonSet, Some(1), &object));
    }
}
