//! Replicas of the webhook in this process, and a configuration by which a real API server calls them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use holdfast_base::Clock;
use holdfast_runtime::{Admin, Shutdown};
use holdfast_webhook::{
    authority::{self, Place, Serving},
    cluster::Live,
    rules::Source,
    serve::{self, Service},
};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::settings;

/// What the chart says, so that what is tested is what is installed.
const CHART: &str = include_str!("../../charts/holdfast/templates/webhook/configuration.yaml");
const ASKS: &[&str] = &[
    "has(object.metadata.annotations) && (",
    "'holdfast.dev/inject' in object.metadata.annotations && object.metadata.annotations['holdfast.dev/inject'] != 'false'",
    "'vault.hashicorp.com/agent-inject' in object.metadata.annotations && object.metadata.annotations['vault.hashicorp.com/agent-inject'] != 'false'",
];
const NO_MIRROR: &str =
    "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)";
pub const CONFIGURATION: &str = "holdfast-holdfast";
pub const SECRET: &str = "holdfast-webhook-ca";

pub struct Replica {
    pub address: SocketAddr,
    pub serving: Serving,
    shutdown: Shutdown,
}

impl Replica {
    /// On a free port, or on that of one that ended.
    pub async fn start(client: &Client, clock: Arc<dyn Clock>, address: Option<SocketAddr>) -> Self {
        let (shutdown, admin, serving) = (Shutdown::new(), Admin::new(), Serving::default());
        let live = Live::new(client.clone());
        let service = Service::new(Source::new(settings(), None, None).unwrap(), Box::new(live.clone()), &admin);
        let listener = TcpListener::bind(address.unwrap_or(([127, 0, 0, 1], 0).into())).await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place {
            namespace: "holdfast".to_owned(),
            secret: SECRET.to_owned(),
            configuration: CONFIGURATION.to_owned(),
            names: vec!["127.0.0.1".to_owned()],
            period: Duration::from_millis(200),
        };
        let acceptor = serve::tls(serving.clone(), None).unwrap();
        tokio::spawn(serve::serve(listener, acceptor, service, shutdown.clone()));
        tokio::spawn(live.watch(shutdown.clone()));
        tokio::spawn(authority::keep(client.clone(), place, clock, serving.clone(), admin, shutdown.clone()));
        Self { address, serving, shutdown }
    }

    pub fn stop(&self) {
        self.shutdown.cancel();
    }
}

/// Has the API server call every replica for every pod that asks, and fail without them.
pub async fn configure(client: &Client, replicas: &[&Replica]) {
    for line in ASKS.iter().chain([&NO_MIRROR]) {
        assert!(CHART.contains(line), "the chart says it differently now: {line}");
    }
    let webhook = |(number, replica): (usize, &&Replica)| -> Value {
        json!({
            "name": format!("inject-{number}.holdfast.dev"),
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "reinvocationPolicy": "IfNeeded",
            "failurePolicy": "Fail", "timeoutSeconds": 10,
            "clientConfig": { "url": format!("https://{}/mutate", replica.address) },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
            "matchConditions": [
                { "name": "asks", "expression": format!("{}{} || {})", ASKS[0], ASKS[1], ASKS[2]) },
                { "name": "is-no-mirror", "expression": NO_MIRROR },
            ],
            "namespaceSelector": { "matchExpressions": [{
                "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["holdfast", "kube-system"],
            }] },
        })
    };
    let configuration = json!({
        "metadata": { "name": CONFIGURATION },
        "webhooks": replicas.iter().enumerate().map(webhook).collect::<Vec<_>>(),
    });
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(configuration).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &configuration).await.unwrap();
}
