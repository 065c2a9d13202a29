//! Login with a Kubernetes ServiceAccount token.
//!
//! The token's signature is checked here, against the keys of the cluster; what a signature cannot tell (was the pod or
//! the account deleted?) is asked of the API server by TokenReview, where the role wants it. A token that is bound to a
//! pod gives the pod's identity, which leases are bound to.

mod api;
mod claims;
mod config;
mod engine;
mod keys;
mod login;
mod role;

use std::{path::PathBuf, sync::Arc};

use holdfast_logical::{Backend, Error, MountInfo, Services};

/// What a pod finds in its own file system and environment.
#[derive(Clone, Debug)]
pub struct Local {
    /// Folder with `ca.crt` and `token`.
    pub folder: PathBuf,
    /// `https://host:port` of the API server; `None` outside of a cluster.
    pub host: Option<String>,
}

impl Local {
    /// As Kubernetes mounts and sets it.
    pub fn in_cluster() -> Self {
        let host = std::env::var("KUBERNETES_SERVICE_HOST").ok().filter(|host| !host.is_empty()).map(|host| {
            let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
            // IPv6 addresses need brackets in URLs.
            if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
        });
        Self { folder: "/var/run/secrets/kubernetes.io/serviceaccount".into(), host }
    }
}

/// Makes the backend of a mount.
pub fn factory(_mount: Arc<MountInfo>, services: Services) -> Result<Arc<dyn Backend>, Error> {
    Ok(with_local(services, Local::in_cluster()))
}

/// As [`factory`], with another idea of where the process runs.
pub fn with_local(services: Services, local: Local) -> Arc<dyn Backend> {
    Arc::new(engine::Kubernetes::new(services, local))
}
