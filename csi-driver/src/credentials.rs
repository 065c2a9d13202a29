//! DynamicCredential objects of the pod's namespace, read with the driver's own service account: they say which path a
//! credential has, nothing secret.

use async_trait::async_trait;
use holdfast_crd_types::{DynamicCredential, names};
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::status::Failure;

/// Where credentials are looked up.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// Path of the credential on the server.
    async fn path(&self, namespace: &str, name: &str) -> Result<String, Failure>;
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
    async fn path(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        let api: Api<DynamicCredential> = Api::namespaced(self.client().await?, namespace);
        match api.get_opt(name).await {
            Ok(Some(found)) => Ok(names::credential_path(namespace, &found.spec.engine_ref.name, &found.spec.role)),
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
