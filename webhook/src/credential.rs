//! DynamicCredential objects by name into API paths, and how long their leases are to be.

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::Context as _;
use holdfast_base::duration;
use holdfast_crd_types::{DynamicCredential, names};
use kube::{Api, Client};

/// What an object says of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// API path.
    pub path: String,
    /// `spec.ttl`; the role's default otherwise.
    pub ttl: Option<Duration>,
}

/// What a name stands for.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Option<Located>>> + Send + 'a>>;

/// Finds what a DynamicCredential says.
pub trait Resolver: Send + Sync + 'static {
    /// `None` when there is no such object. An error is one of the cluster's API.
    fn locate<'a>(&'a self, namespace: &'a str, name: &'a str) -> Resolved<'a>;
}

/// Asks the cluster.
#[derive(Clone)]
pub struct Cluster(pub Client);

impl Resolver for Cluster {
    fn locate<'a>(&'a self, namespace: &'a str, name: &'a str) -> Resolved<'a> {
        Box::pin(async move {
            let objects: Api<DynamicCredential> = Api::namespaced(self.0.clone(), namespace);
            let Some(object) = objects.get_opt(name).await? else { return Ok(None) };
            let ttl = object.spec.ttl.as_deref().map(duration::parse).transpose().context("spec.ttl")?;
            Ok(Some(Located {
                path: names::credential_path(namespace, &object.spec.engine_ref.name, &object.spec.role),
                ttl: ttl.filter(|ttl| !ttl.is_zero()),
            }))
        })
    }
}
