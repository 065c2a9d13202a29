//! The certificate authority changes while two replicas serve, and no pod is refused meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use holdfast_base::{Clock, ManualClock, SystemClock};
use holdfast_envtest::{Cluster, eventually};
use holdfast_webhook::{
    authority::{ANNOUNCE, STATE_KEY, State},
    certificate::Authority,
};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        core::v1::{Pod, Secret},
    },
};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    cluster::{pod, prepare},
    replica::{CONFIGURATION, Replica, SECRET, configure},
};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_refused_while_the_authority_changes() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    prepare(client).await;
    // Made 340 days ago, so due for its successor now; still good for the API server, whose clock is the machine's.
    let start = SystemClock.now();
    let old = State { current: Authority::new(start - 340 * DAY).unwrap(), next: None, previous: None };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "holdfast");
    let mut secret: Secret = serde_json::from_value(json!({ "metadata": { "name": SECRET } })).unwrap();
    secret.data = Some([(STATE_KEY.to_owned(), ByteString(serde_json::to_vec(&old).unwrap()))].into());
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let state = async || -> State {
        let secret = secrets.get(SECRET).await.unwrap();
        serde_json::from_slice(&secret.data.unwrap()[STATE_KEY].0).unwrap()
    };

    let clock = Arc::new(ManualClock::new(start));
    let one = Replica::start(client, clock.clone(), None).await;
    let two = Replica::start(client, clock.clone(), None).await;
    // Each is called for every pod; the second finds it done.
    configure(client, &[&one, &two]).await;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let announced = async || {
        let webhooks = configurations.get(CONFIGURATION).await.unwrap().webhooks.unwrap();
        let bundles = webhooks.into_iter().filter_map(|webhook| Some(webhook.client_config.ca_bundle?.0));
        let bundles: Vec<String> = bundles.map(|bundle| String::from_utf8(bundle).unwrap()).collect();
        if bundles.len() == 2 && bundles[0] == bundles[1] { bundles[0].clone() } else { String::new() }
    };
    eventually("both authorities are announced", async || announced().await.matches("BEGIN").count() == 2).await;
    assert_eq!(state().await.current, old.current, "announced is not in use");

    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let asking = pod("p", json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "kv/data/db" }));
    eventually("both replicas are trusted", async || pods.create(&dry, &asking).await.is_ok()).await;

    // From here on every pod must be made.
    let (made, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let maker = tokio::spawn({
        let (pods, dry, asking, made, over) = (pods.clone(), dry.clone(), asking.clone(), made.clone(), over.clone());
        async move {
            while !over.load(Ordering::Relaxed) {
                pods.create(&dry, &asking).await.unwrap();
                made.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let leaves = (one.serving.load_full().unwrap(), two.serving.load_full().unwrap());
    clock.advance(ANNOUNCE);
    eventually("both replicas serve with the new authority", async || {
        let now = (one.serving.load_full().unwrap(), two.serving.load_full().unwrap());
        !Arc::ptr_eq(&now.0, &leaves.0) && !Arc::ptr_eq(&now.1, &leaves.1)
    })
    .await;
    let new = state().await;
    assert_eq!(new.previous.as_ref(), Some(&old.current), "the old one stays trusted");
    assert_ne!(new.current, old.current);
    // A replica that comes now takes over what there is, and more pods are made by connections of after the change.
    let three = Replica::start(client, clock.clone(), None).await;
    eventually("the third serves", async || three.serving.load().is_some()).await;
    let seen = made.load(Ordering::Relaxed);
    eventually("more pods are made", async || made.load(Ordering::Relaxed) > seen + 20 || maker.is_finished()).await;
    assert_eq!(state().await, new, "and nobody made another authority");
    over.store(true, Ordering::Relaxed);
    maker.await.expect("a pod was refused");
    assert_eq!(announced().await.matches("BEGIN").count(), 2);
}
