//! Pods that go take their credentials with them; pods that stay keep them, whatever becomes of their labels.

use holdfast_crd_types::names;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    cluster::{Cluster, eventually},
    stand_in::StandIn,
};

/// Makes an injected pod with a credential; answers the key of its binding.
async fn pod(pods: &Api<Pod>, server: &StandIn, name: &str) -> String {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { names::LABEL_INJECTED: "true" } },
        "spec": { "containers": [{ "name": "app", "image": "app" }], "automountServiceAccountToken": false },
    }))
    .unwrap();
    let uid = pods.create(&PostParams::default(), &pod).await.unwrap().uid().unwrap();
    let key = format!("pod/{uid} item");
    server.held.lock().unwrap().bound.insert(key.clone(), "lease".to_owned());
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_loses_its_label_keeps_its_credentials() {
    let (cluster, server) = (Cluster::start().await, StandIn::start().await);
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "shop");
    let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
    let _operator = cluster.operator("one", &server.address);
    let stays = pod(&pods, &server, "stays").await;
    let is_bound = |key: &str| server.held.lock().unwrap().bound.contains_key(key);
    // The watch sees only what goes after it began: the first ones may be missed.
    let mut number = 0;
    let mut goes = async || {
        number += 1;
        let name = format!("goes-{number}");
        let key = pod(&pods, &server, &name).await;
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
        for _ in 0..20 {
            if !is_bound(&key) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        false
    };
    eventually("a pod that goes is released", &mut goes).await;

    let unlabelled = json!({ "metadata": { "labels": { names::LABEL_INJECTED: null } } });
    pods.patch("stays", &PatchParams::default(), &Patch::Merge(&unlabelled)).await.unwrap();
    eventually("the next pod that goes is released", &mut goes).await;
    assert!(is_bound(&stays), "to a watch by label this looks like a deletion, but the pod is there");
}
