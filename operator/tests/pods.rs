//! Pods that go or end take their credentials with them; pods that live keep them, whatever becomes of their labels.

use holdfast_crd_types::names;
use holdfast_envtest::{Cluster, eventually};
use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{cluster::operator, stand_in::StandIn};

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
    cluster.default_service_account("shop").await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
    let _operator = operator(&cluster, "one", &server.address);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_ended_keeps_nothing() {
    let (cluster, server) = (Cluster::start().await, StandIn::start().await);
    cluster.default_service_account("shop").await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
    let end = async |name: &str, phase: &str| {
        let ended = json!({ "status": { "phase": phase } });
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&ended)).await.unwrap();
    };
    let is_bound = |key: &str| server.held.lock().unwrap().bound.contains_key(key);
    let before = pod(&pods, &server, "before").await;
    end("before", "Failed").await;
    let runs = pod(&pods, &server, "runs").await;
    end("runs", "Running").await;
    let _operator = operator(&cluster, "one", &server.address);
    eventually("what ended while nobody watched is released", async || !is_bound(&before)).await;

    let mut number = 0;
    let mut ends = async |tries: usize| {
        number += 1;
        let name = format!("ends-{number}");
        let key = pod(&pods, &server, &name).await;
        end(&name, "Succeeded").await;
        for _ in 0..tries {
            if !is_bound(&key) {
                assert!(pods.get_opt(&name).await.unwrap().is_some(), "the pod is still there");
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        false
    };
    // Those that end before the watch begins are left to a sweep; the next sweep is half a minute away then.
    eventually("a pod that ends is released", async || ends(20).await).await;
    assert!(ends(100).await, "the watch sees the end of a pod");
    assert!(is_bound(&runs), "a pod that runs keeps its credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_the_webhook_missed_has_an_event() {
    let (cluster, server) = (Cluster::start().await, StandIn::start().await);
    cluster.default_service_account("shop").await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
    let make = async |name: &str, annotations: serde_json::Value| {
        let pod = json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "containers": [{ "name": "app", "image": "app" }], "automountServiceAccountToken": false },
        });
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    };
    make("before", json!({ "vault.hashicorp.com/agent-inject": "true" })).await;
    make("served", json!({ "holdfast.dev/inject": "true", "holdfast.dev/injected": "0.1.0/abc" })).await;
    let _operator = operator(&cluster, "one", &server.address);
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "shop");
    let told = async || {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        let missed = list.into_iter().filter(|event| event.reason.as_deref() == Some("InjectionMissed"));
        missed.filter_map(|event| event.regarding?.name).collect::<Vec<_>>()
    };
    eventually("the pod of before is found", async || told().await.contains(&"before".to_owned())).await;
    make("later", json!({ "holdfast.dev/inject": "true" })).await;
    eventually("the later pod is found", async || told().await.contains(&"later".to_owned())).await;
    assert!(!told().await.contains(&"served".to_owned()));
}
