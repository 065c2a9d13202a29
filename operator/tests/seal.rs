//! The seal key is made once, and never again.

use holdfast_envtest::{Cluster, eventually};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Secret},
    events::v1::Event,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};

use crate::{cluster::operator, stand_in::StandIn};

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_key_that_is_gone_is_not_made_anew() {
    let (cluster, server) = (Cluster::start().await, StandIn::start().await);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "holdfast");
    let marks: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "holdfast");
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "holdfast");
    let first = operator(&cluster, "one", &server.address);
    eventually("the key is made", async || marks.get_opt("holdfast-operator-keys").await.unwrap().is_some()).await;
    let mut kept = secrets.get("holdfast-seal").await.unwrap();
    drop(first);

    secrets.delete("holdfast-seal", &DeleteParams::default()).await.unwrap();
    let _second = operator(&cluster, "two", &server.address);
    eventually("the loss is said", async || {
        let list = events.list(&ListParams::default()).await.unwrap().items;
        list.iter().any(|event| event.reason.as_deref() == Some("SealKeyMissing"))
    })
    .await;
    assert!(secrets.get_opt("holdfast-seal").await.unwrap().is_none(), "a new key would hide that the old one is lost");

    // From a backup.
    kept.metadata.resource_version = None;
    kept.metadata.uid = None;
    secrets.create(&PostParams::default(), &kept).await.unwrap();
    assert_eq!(secrets.get("holdfast-seal").await.unwrap().data, kept.data);
}
