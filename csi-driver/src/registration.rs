//! Makes the driver known to kubelet, without a sidecar: a socket in kubelet's registry folder that tells where the
//! driver's own socket is. Kubelet asks when it sees the socket, and again when it restarts.

use std::{sync::Arc, time::Duration};

use holdfast_runtime::{Admin, Shutdown};
use tokio::sync::watch;
use tokio_stream::{StreamExt, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, async_trait, transport::Server};
use tracing::{info, warn};

use crate::{
    authority,
    identity::NAME,
    mounter::{client::Mounter, wire::Socket},
    proto::registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{Registration, RegistrationServer},
    },
    taint,
};

const TICK: Duration = Duration::from_millis(500);

/// What to tell kubelet, and who makes the socket in its registry folder.
#[derive(Clone)]
pub struct Registrar {
    /// Makes the socket.
    pub mounter: Mounter,
    /// The driver's own socket, as kubelet sees it.
    pub endpoint: String,
    /// How long kubelet may take to register before the socket is made anew.
    pub patience: Duration,
    /// Node and key of the taint to take off when registered.
    pub taint: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Unknown,
    Registered,
    Refused(String),
}

struct Service {
    endpoint: String,
    outcome: Arc<watch::Sender<Outcome>>,
}

#[async_trait]
impl Registration for Service {
    /// Kubelet asks before it registers the driver: what an earlier one had made of it is over.
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        self.outcome.send_replace(Outcome::Unknown);
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: NAME.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        let outcome = if status.plugin_registered { Outcome::Registered } else { Outcome::Refused(status.error) };
        self.outcome.send_replace(outcome);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

impl Registrar {
    /// Serves registration until the shutdown; the driver is ready while it is registered. Ends with an error if kubelet
    /// refuses, so that the process restarts and the reason is in its last log line.
    pub async fn run(self, admin: Admin, shutdown: Shutdown) -> anyhow::Result<()> {
        let (sender, mut outcome) = watch::channel(Outcome::Unknown);
        let sender = Arc::new(sender);
        loop {
            let stop = tokio_util::sync::CancellationToken::new();
            let serving = tokio::spawn(self.serve(sender.clone(), stop.clone()).await?);
            let mut waited = Duration::ZERO;
            let again = loop {
                tokio::select! {
                    changed = outcome.changed() => {
                        changed?;
                        let now = outcome.borrow_and_update().clone();
                        admin.set_ready(now == Outcome::Registered);
                        match now {
                            Outcome::Registered => {
                                info!("kubelet has registered the driver");
                                // Each time: a kubelet that makes its Node anew makes the taint with it.
                                if let Some((node, key)) = self.taint.clone() {
                                    tokio::spawn(async move { taint::remove(&node, &key).await });
                                }
                            }
                            Outcome::Refused(reason) => anyhow::bail!("kubelet refuses to register the driver: {reason}"),
                            Outcome::Unknown => waited = Duration::ZERO,
                        }
                    }
                    () = tokio::time::sleep(TICK) => waited += TICK,
                    () = shutdown.cancelled() => break false,
                }
                // A mounter that does not answer has removed nothing.
                if !self.mounter.is_shown(Socket::Registration).await.unwrap_or(true) {
                    warn!("the registration socket is gone; making it anew");
                    break true;
                }
                if *outcome.borrow() != Outcome::Registered && waited >= self.patience {
                    warn!("kubelet has not registered the driver yet; showing the registration socket again");
                    break true;
                }
            };
            stop.cancel();
            serving.await??;
            if !again {
                if let Err(error) = self.mounter.hide(Socket::Registration).await {
                    warn!(%error, "the registration socket stays; the next start replaces it");
                }
                return Ok(());
            }
        }
    }

    async fn serve(
        &self,
        outcome: Arc<watch::Sender<Outcome>>,
        stop: tokio_util::sync::CancellationToken,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
        let listener = self.mounter.listen(Socket::Registration).await?;
        let service = RegistrationServer::new(Service { endpoint: self.endpoint.clone(), outcome });
        Ok(async move {
            // Kubelet keeps its connection open; it must not hold up the end.
            let connections = UnixListenerStream::new(listener).map(|socket| socket.map(authority::localhost));
            let serving = Server::builder().add_service(service).serve_with_incoming(connections);
            tokio::select! {
                served = serving => served?,
                () = stop.cancelled() => {}
            }
            Ok(())
        })
    }
}
