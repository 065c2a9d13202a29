//! The webhook, called by a real API server.

use std::{fs, path::Path, sync::Arc};

use holdfast_base::SystemClock;
use holdfast_crd_types::DynamicCredential;
use holdfast_envtest::{Cluster, eventually};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::replica::{Replica, configure};

fn asking(name: &str) -> Pod {
    pod(name, json!({ "holdfast.dev/inject": "true", "holdfast.dev/secret.db": "kv/data/db" }))
}

pub fn pod(name: &str, annotations: Value) -> Pod {
    let mut pod = json!({
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "serviceAccountName": "orders", "containers": [{ "name": "app", "image": "a" }] },
    });
    restrict(&mut pod);
    serde_json::from_value(pod).unwrap()
}

/// What the restricted standard asks of the application; the agent has to pass by itself.
fn restrict(pod: &mut Value) {
    pod["spec"]["securityContext"]["runAsNonRoot"] = json!(true);
    pod["spec"]["securityContext"]["seccompProfile"] = json!({ "type": "RuntimeDefault" });
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            container["securityContext"]["allowPrivilegeEscalation"] = json!(false);
            container["securityContext"]["capabilities"] = json!({ "drop": ["ALL"] });
        }
    }
}

/// Makes `shop` restricted, with what the golden pods name.
pub async fn prepare(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    namespaces.patch("shop", &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    for namespace in ["shop", "holdfast"] {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let account = serde_json::from_value(json!({ "metadata": { "name": "orders" } })).unwrap();
        accounts.create(&PostParams::default(), &account).await.unwrap();
    }
    let credentials: Api<DynamicCredential> = Api::namespaced(client.clone(), "shop");
    let credential = json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "DynamicCredential", "metadata": { "name": "orders-ro" },
        "spec": { "engineRef": { "name": "orders-db" }, "role": "readonly" },
    });
    credentials.create(&PostParams::default(), &serde_json::from_value(credential).unwrap()).await.unwrap();
}

fn agent(pod: &Value) -> &Value {
    let list = pod["spec"]["initContainers"].as_array().unwrap();
    list.iter().find(|container| container["name"] == "holdfast-agent").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_what_the_webhook_makes_of_pods() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    prepare(client).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    let replica = Replica::start(client, Arc::new(SystemClock), None).await;
    configure(client, &[&replica]).await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the webhook is announced", async || pods.create(&dry, &asking("first")).await.is_ok()).await;
    assert!(pods.get_opt("first").await.unwrap().is_none(), "a dry run makes nothing");

    golden(&pods).await;
    namespaces_defaults_count(client, &pods).await;
    without_the_webhook(client, &pods, replica).await;
}

/// Every golden pod, in a restricted namespace: made, and as the golden file says.
async fn golden(pods: &Api<Pod>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut injected = 0;
    for file in fs::read_dir(folder.join("pods")).unwrap() {
        let file = file.unwrap();
        let mut pod: Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
        restrict(&mut pod);
        if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
            continue; // only kubelets make those
        }
        let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await;
        let made =
            serde_json::to_value(made.unwrap_or_else(|error| panic!("{:?}: {error}", file.file_name()))).unwrap();
        let golden = fs::read(folder.join("golden").join(file.file_name())).unwrap();
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        if golden["untouched"] == true {
            assert!(made["metadata"]["annotations"]["holdfast.dev/injected"].is_null());
            continue;
        }
        for field in ["args", "env", "volumeMounts", "restartPolicy", "startupProbe"] {
            let (made, golden) = (&agent(&made)[field], &agent(&golden["pod"])[field]);
            // The API server adds defaults, and takes nothing away.
            assert!(holds(made, golden), "{:?}: {field} is {made}, and {golden} was wanted", file.file_name());
        }
        injected += 1;
    }
    assert!(injected >= 12, "{injected}");
}

/// Is all of `part` in `whole`? Lists may be longer: the API server mounts its own token too.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() >= part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

async fn namespaces_defaults_count(client: &Client, pods: &Api<Pod>) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let annotate = async |value: Value| {
        let patch = json!({ "metadata": { "annotations": { "defaults.holdfast.dev/refresh": value } } });
        namespaces.patch("shop", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    let refresh = async || {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let pod = serde_json::to_value(pods.create(&dry, &asking("defaulted")).await.unwrap()).unwrap();
        let text = agent(&pod)["env"][0]["value"].as_str().unwrap().to_owned();
        serde_json::from_str::<Value>(&text).unwrap()["refresh"].clone()
    };
    assert_eq!(refresh().await, "1s");
    annotate(json!("7s")).await;
    eventually("the namespace's default counts", async || refresh().await == "7s").await;
    annotate(Value::Null).await;
    eventually("and no longer", async || refresh().await == "1s").await;
}

/// `failurePolicy: Fail` stops pods that ask, and nothing else; it ends when the webhook is back.
async fn without_the_webhook(client: &Client, pods: &Api<Pod>, replica: Replica) {
    replica.stop();
    eventually("pods that ask are stopped", async || {
        let made = pods.create(&PostParams::default(), &asking("stopped")).await;
        if made.is_ok() {
            pods.delete("stopped", &DeleteParams::default().grace_period(0)).await.unwrap();
        }
        made.is_err_and(|error| error.to_string().contains("failed calling webhook"))
    })
    .await;
    for (name, annotations) in [("plain", json!({})), ("off", json!({ "holdfast.dev/inject": "false" }))] {
        pods.create(&PostParams::default(), &pod(name, annotations)).await.unwrap();
    }
    // The webhook's own pods, whatever they carry, so that it can come back.
    let own: Api<Pod> = Api::namespaced(client.clone(), "holdfast");
    own.create(&PostParams::default(), &asking("webhook")).await.unwrap();
    let _back = Replica::start(client, Arc::new(SystemClock), Some(replica.address)).await;
    eventually("the webhook is back", async || pods.create(&PostParams::default(), &asking("stopped")).await.is_ok())
        .await;
}
