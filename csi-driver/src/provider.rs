//! Stands in for the Vault provider of the secrets-store driver (`secrets-store.csi.k8s.io`): SecretProviderClasses with
//! `provider: vault` work as they are. The driver mounts and writes; it asks here at each publish and, where rotation is
//! on, at each poll.
//!
//! Other than the provider it stands in for, this one logs in once for a pod and keeps what it read: a poll finds the
//! credential that is bound to the pod rather than making another, leases are renewed in between, and all of it is given
//! back when the pod is gone. Objects that differ in their arguments are read apart.

pub mod provided;

use std::{collections::HashMap, fs, io, path::Path, sync::Arc, time::Duration};

use holdfast_client::Client;
use holdfast_runtime::Shutdown;
use parking_lot::Mutex;
use tonic::{Request, Response, Status, async_trait};
use tracing::{info, warn};

use self::provided::{Asked, Provided, VersionKey};
use crate::{
    attributes::class,
    metrics::outcome,
    proto::provider::{
        File, MountRequest, MountResponse, VersionRequest, VersionResponse,
        csi_driver_provider_server::CsiDriverProvider,
    },
    services::Services,
    status::Failure,
};

/// How often leases are looked after.
const TICK: Duration = Duration::from_millis(500);
/// In how many of these rounds once pods are looked for.
const LOOK: u32 = 10;
/// Bytes of a file of certificates or keys.
const MOST_PEM: u64 = 1024 * 1024;

/// The service, and all that it keeps for pods.
pub struct Provider {
    services: Arc<Services>,
    key: VersionKey,
    /// May a class say which server to ask?
    follow_class: bool,
    /// May the driver ask the cluster for tokens that did not come with the request?
    request_tokens: bool,
    held: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Provided>>>>,
}

impl Provider {
    /// Keeps nothing yet.
    pub fn new(services: Arc<Services>, key: VersionKey, follow_class: bool, request_tokens: bool) -> Arc<Self> {
        Arc::new(Self { services, key, follow_class, request_tokens, held: Mutex::default() })
    }

    async fn provide(&self, request: &MountRequest) -> Result<MountResponse, Failure> {
        let asked = Asked::parse(request, &self.services.kubelet_root)?;
        let (plan, server) = class::parse(&asked.parameters)?;
        let audiences = self.services.audiences(plan.audience.as_deref());
        let token = match asked.token(&audiences) {
            Err(_) if self.request_tokens && !asked.has_tokens() => {
                self.services.credentials.token(&asked.pod, audiences.first().copied().unwrap_or_default()).await?
            }
            other => other?,
        };
        let held = self.held.lock().get(&asked.volume_id()).cloned();
        let held = match held {
            Some(held) => held,
            None => {
                let tools = self.services.tools(&asked.pod, &plan, self.server(&server)?);
                let fresh = Provided::new(&self.services, &asked, plan, tools).await?;
                let fresh = Arc::new(tokio::sync::Mutex::new(fresh));
                self.held.lock().entry(asked.volume_id()).or_insert(fresh).clone()
            }
        };
        let mut provided = held.lock().await;
        let payload = provided.payload(&self.services, token).await?;
        let versions = payload.iter().map(|(name, entry)| self.key.version(&asked, name, entry)).collect();
        let files = payload.into_iter().map(|(path, entry)| File {
            path,
            mode: i32::try_from(entry.mode).unwrap_or(0o400),
            contents: entry.bytes.expose().to_vec(),
        });
        Ok(MountResponse { object_version: versions, error: None, files: files.collect() })
    }

    /// The driver's server; that of the class where classes may choose.
    fn server(&self, asked: &class::Server) -> Result<Client, Failure> {
        let Some(address) = asked.address.clone().filter(|_| self.follow_class) else {
            return Ok(self.services.server.clone());
        };
        let bad = |error: holdfast_client::Error| Failure::Invalid(format!("SecretProviderClass: {error}"));
        let read = |path: &String| {
            let unfit = |error| Failure::Invalid(format!("SecretProviderClass: {path}: {error}"));
            modest(path.as_ref()).map_err(unfit)?;
            holdfast_client::read_pem(path.as_ref()).map_err(bad)
        };
        let ca_pem = match (&asked.ca_file, &asked.ca_folder) {
            (Some(file), _) => Some(read(file)?),
            (None, Some(folder)) => Some(authorities(folder.as_ref()).map_err(|error| {
                Failure::Invalid(format!("SecretProviderClass: vaultCADirectory {folder}: {error}"))
            })?),
            (None, None) => None,
        };
        let identity = asked.identity.as_ref().map(|(chain, key)| Ok::<_, Failure>((read(chain)?, read(key)?)));
        Client::new(holdfast_client::Config {
            address,
            ca_pem,
            identity_pem: identity.transpose()?,
            tls_skip_verify: asked.skip_verify,
            tls_server_name: asked.tls_server_name.clone(),
            timeout: Some(crate::SERVER_TIMEOUT),
            ..Default::default()
        })
        .map_err(bad)
    }

    /// Until the shutdown: renews leases, and lets go of pods that are gone. What they had is given back by the sweep over
    /// all records.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        for round in 1u32.. {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shutdown.cancelled() => break,
            }
            let held: Vec<_> = self.held.lock().iter().map(|(id, held)| (id.clone(), held.clone())).collect();
            for (id, held) in held {
                let mut provided = held.lock().await;
                if round.is_multiple_of(LOOK) && provided.is_gone(&self.services).await {
                    info!(volume = id, "a pod with a SecretProviderClass is gone");
                    self.held.lock().remove(&id);
                } else {
                    provided.renew(&self.services).await;
                }
            }
        }
        Ok(())
    }
}

/// Whoever writes classes names files of this container: a device would never end.
fn modest(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    match found.is_file() && found.len() <= MOST_PEM {
        true => Ok(()),
        false => Err(io::Error::other(format!("not a file of {MOST_PEM} bytes at most"))),
    }
}

/// All files of a folder, in order.
fn authorities(folder: &Path) -> io::Result<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    let mut pem = Vec::new();
    for file in files {
        modest(&file)?;
        pem.extend(fs::read(file)?);
        pem.push(b'\n');
    }
    Ok(pem)
}

/// The service of an [`Arc`] of it.
#[derive(Clone)]
pub struct ProviderService(pub Arc<Provider>);

#[async_trait]
impl CsiDriverProvider for ProviderService {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: "v1alpha1".to_owned(),
            runtime_name: "holdfast-csi-provider".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        let provider = self.0.clone();
        let request = request.into_inner();
        // In a task of its own: the driver hanging up must not stop a read half way that makes a credential.
        let done = tokio::spawn(async move { provider.provide(&request).await }).await;
        let done = done.map_err(|_| Status::internal("the request's task ended early; the driver will ask again"))?;
        let result = done.as_ref().map_or_else(Failure::label, |_| "ok");
        self.0.services.metrics.provided.get_or_create(&outcome(result)).inc();
        done.map(Response::new).map_err(|failure| {
            warn!(%failure, "a SecretProviderClass can't be served");
            failure.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_authorities_is_one_text() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        for (name, text) in [("b.pem", "two"), ("a.pem", "one\n")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(authorities(folder.path()).unwrap(), b"one\n\ntwo\n");
        assert!(authorities(&folder.path().join("none")).is_err());
    }
}
