//! DynamicCredential objects of the pod's namespace, read with the driver's own service account: they say which path a
//! credential has and how long its lease is to be, nothing secret.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_base::duration;
use holdfast_crd_types::{DynamicCredential, DynamicCredentialSpec, names};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::status::Failure;

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
}

/// The Kubernetes API.
#[derive(Default)]
pub struct Cluster {
    client: OnceCell<Client>,
}

impl Cluster {
    async fn client(&self) -> Result<Client, Failure> {
        let client = self.client.get_or_try_init(Client::try_default).await;
        client.cloned().map_err(|error| Failure::Unavailable(format!("no Kubernetes API for the driver: {error}")))
    }
}

#[async_trait]
impl Credentials for Cluster {
    async fn locate(&self, namespace: &str, name: &str) -> Result<Located, Failure> {
        let api: Api<DynamicCredential> = Api::namespaced(self.client().await?, namespace);
        match api.get_opt(name).await {
            Ok(Some(found)) => Located::new(namespace, &found.spec),
            Ok(None) => Err(Failure::NotFound(format!(
                "there is no DynamicCredential {name} in namespace {namespace}. Try: kubectl get dcred -n {namespace}"
            ))),
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => Err(Failure::Denied(format!(
                "reading DynamicCredential {namespace}/{name} with the driver's service account: {}",
                status.message
            ))),
            Err(error) => Err(Failure::Unavailable(format!("reading DynamicCredential {namespace}/{name}: {error}"))),
        }
    }
}
