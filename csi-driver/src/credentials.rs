//! What the Kubernetes API knows, read with the driver's own service account and nothing secret: DynamicCredential objects
//! of the pod's namespace say which path a credential has and how long its lease is to be; SecretProviderClasses say what
//! a volume is made of. And, where it may, a token of a pod that kubelet sent none of.

use std::time::Duration;

use std::collections::BTreeMap;

use async_trait::async_trait;
use holdfast_base::duration;
use holdfast_crd_types::{DynamicCredential, DynamicCredentialSpec, names};
use holdfast_secret::SecretString;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ObjectReference, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{request::Pod, status::Failure};

/// What an object says of its credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Path on the server.
    pub path: String,
    /// `spec.ttl` in seconds; the role's default otherwise.
    #[serde(default)]
    pub ttl: Option<u64>,
}

impl Located {
    fn new(namespace: &str, spec: &DynamicCredentialSpec) -> Result<Self, Failure> {
        let ttl = spec.ttl.as_deref().map(duration::parse).transpose();
        let ttl = ttl.map_err(|error| Failure::Invalid(format!("spec.ttl: {error}")))?;
        Ok(Self {
            path: names::credential_path(namespace, &spec.engine_ref.name, &spec.role),
            ttl: ttl.as_ref().map(Duration::as_secs).filter(|seconds| *seconds > 0),
        })
    }
}

/// Where credentials are looked up.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// Where the credential is on the server, and its duration.
    async fn locate(&self, namespace: &str, name: &str) -> Result<Located, Failure>;
    /// The parameters of a SecretProviderClass.
    async fn class(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Failure>;
    /// A short-lived token of the pod's service account, bound to the pod.
    async fn token(&self, pod: &Pod, audience: &str) -> Result<SecretString, Failure>;
    /// Leaves word of one of its volumes at the pod.
    async fn tell(&self, pod: &Pod, told: Told) -> Result<(), Failure>;
}

/// An Event about a volume.
#[derive(Clone, Debug)]
pub struct Told {
    /// Something is wrong.
    pub warning: bool,
    /// In one word.
    pub reason: &'static str,
    /// For people; without secrets.
    pub note: String,
}

/// The Kubernetes API.
pub struct Cluster {
    client: OnceCell<Client>,
    recorder: OnceCell<Recorder>,
    node: String,
}

impl Cluster {
    /// As the driver of this node.
    pub fn of(node: &str) -> Self {
        Self { client: OnceCell::new(), recorder: OnceCell::new(), node: node.to_owned() }
    }

    async fn client(&self) -> Result<Client, Failure> {
        let client = self.client.get_or_try_init(Client::try_default).await;
        client.cloned().map_err(|error| Failure::Unavailable(format!("no Kubernetes API for the driver: {error}")))
    }
}

#[async_trait]
impl Credentials for Cluster {
    async fn locate(&self, namespace: &str, name: &str) -> Result<Located, Failure> {
        let api: Api<DynamicCredential> = Api::namespaced(self.client().await?, namespace);
        let what = format!("DynamicCredential {namespace}/{name}");
        let found = api.get_opt(name).await.map_err(|error| refused(&what, error))?;
        let found = found.ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no DynamicCredential {name} in namespace {namespace}. Try: kubectl get dcred -n {namespace}"
            ))
        })?;
        Located::new(namespace, &found.spec)
    }

    async fn class(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Failure> {
        let resource = ApiResource {
            group: "secrets-store.csi.x-k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "secrets-store.csi.x-k8s.io/v1".to_owned(),
            kind: "SecretProviderClass".to_owned(),
            plural: "secretproviderclasses".to_owned(),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client().await?, namespace, &resource);
        let what = format!("SecretProviderClass {namespace}/{name}");
        let found = api.get_opt(name).await.map_err(|error| refused(&what, error))?;
        let found = found.ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no SecretProviderClass {name} in namespace {namespace}. Try: kubectl get secretproviderclass -n \
                 {namespace}"
            ))
        })?;
        let provider = found.data["spec"]["provider"].as_str().unwrap_or_default();
        if !matches!(provider, "vault" | "openbao" | "holdfast") {
            return Err(Failure::Invalid(format!(
                "{what} has provider {provider:?}: vault, openbao or holdfast are read"
            )));
        }
        serde_json::from_value(found.data["spec"]["parameters"].clone())
            .map_err(|_| Failure::Invalid(format!("{what}: spec.parameters is to be a map of strings")))
    }

    async fn token(&self, pod: &Pod, audience: &str) -> Result<SecretString, Failure> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, &pod.namespace);
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.clone()),
        };
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                bound_object_ref: Some(bound),
                expiration_seconds: Some(900),
            },
            ..TokenRequest::default()
        };
        let done = api.create_token_request(&pod.service_account, &PostParams::default(), &request).await;
        let what = format!("a token of service account {}/{}", pod.namespace, pod.service_account);
        let status = done.map_err(|error| refused(&what, error))?.status;
        let token = status.map(|status| SecretString::new(status.token));
        token.ok_or_else(|| Failure::Unavailable(format!("{what}: the answer has none")))
    }

    async fn tell(&self, pod: &Pod, told: Told) -> Result<(), Failure> {
        let client = self.client().await?;
        let reporter = Reporter { controller: names::CSI_DRIVER.to_owned(), instance: Some(self.node.clone()) };
        let recorder = self.recorder.get_or_init(|| async { Recorder::new(client, reporter) }).await;
        let event = Event {
            type_: if told.warning { EventType::Warning } else { EventType::Normal },
            reason: told.reason.to_owned(),
            note: Some(shortened(&told.note)),
            action: "KeepFresh".to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        };
        recorder.publish(&event, &about).await.map_err(|error| refused("an Event", error))
    }
}

/// At the end of [`Credentials::tell`]: the API takes no more.
const MAX_NOTE: usize = 1000;

fn shortened(note: &str) -> String {
    match note.char_indices().nth(MAX_NOTE) {
        Some((end, _)) => format!("{}…", &note[..end]),
        None => note.to_owned(),
    }
}

/// Why the Kubernetes API gave nothing.
fn refused(what: &str, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 404 => {
            Failure::NotFound(format!("{what}: the cluster does not know this kind ({})", status.message))
        }
        kube::Error::Api(status) if status.code < 500 && status.code != 429 => {
            Failure::Denied(format!("{what}, with the driver's service account: {}", status.message))
        }
        error => Failure::Unavailable(format!("{what}: {error}")),
    }
}
