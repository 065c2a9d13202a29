//! DynamicCredential objects by name into API paths.

use std::{future::Future, pin::Pin};

use holdfast_crd_types::{DynamicCredential, names};
use kube::{Api, Client};

/// What a name stands for.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Option<String>>> + Send + 'a>>;

/// Finds the path of a DynamicCredential.
pub trait Resolver: Send + Sync + 'static {
    /// `None` when there is no such object. An error is one of the cluster's API.
    fn path<'a>(&'a self, namespace: &'a str, name: &'a str) -> Resolved<'a>;
}

/// Asks the cluster.
#[derive(Clone)]
pub struct Cluster(pub Client);

impl Resolver for Cluster {
    fn path<'a>(&'a self, namespace: &'a str, name: &'a str) -> Resolved<'a> {
        Box::pin(async move {
            let objects: Api<DynamicCredential> = Api::namespaced(self.0.clone(), namespace);
            let found = objects.get_opt(name).await?;
            Ok(found.map(|object| names::credential_path(namespace, &object.spec.engine_ref.name, &object.spec.role)))
        })
    }
}
