//! What volumes are served with, and what is made of it for one of them.

use std::{path::PathBuf, sync::Arc};

use holdfast_base::{Clock, Entropy, Timestamp};
use holdfast_client::Client;
use tracing::{debug, warn};

use crate::{
    attributes::{CLASS, Plan, class},
    cache::{self, LastGood},
    content::Content,
    credentials::{Credentials, Told},
    events::Hearing,
    metrics::Metrics,
    mounter::client::Mounter,
    payload::Payload,
    releases::Releases,
    request::{Pod, Publish},
    session::Session,
    source::{Freshness, Tools},
    state::StateDir,
    status::Failure,
    volume::Health,
};

/// Audience of tokens that classes of the Vault provider expect where they name none.
const VAULT_AUDIENCE: &str = "vault";

/// What the volumes are served with.
pub struct Services {
    /// The server, without token.
    pub server: Client,
    /// Mount of the kubernetes auth method.
    pub auth_mount: String,
    /// Audience of pods' tokens.
    pub audience: String,
    /// Kubelet's folder.
    pub kubelet_root: PathBuf,
    /// Most bytes of a volume.
    pub size: u64,
    /// The privileged part.
    pub mounter: Mounter,
    /// Where DynamicCredential objects are.
    pub credentials: Arc<dyn Credentials>,
    /// What is remembered.
    pub state: StateDir,
    /// What is owed.
    pub releases: Arc<Releases>,
    /// Whether changes are heard of.
    pub hearing: Hearing,
    /// The last good files, if they are kept.
    pub last_good: Option<LastGood>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Jitter and names.
    pub entropy: Arc<dyn Entropy>,
    /// Numbers.
    pub metrics: Metrics,
}

impl Services {
    /// The plan of a volume: its attributes, or those of the class that it names.
    pub async fn plan(&self, request: &Publish) -> Result<Plan, Failure> {
        match request.attributes.get(CLASS).filter(|_| request.attributes.len() == 1) {
            None => Plan::parse(request.attributes.iter()),
            Some(name) => {
                let parameters = self.credentials.class(&request.pod.namespace, name).await?;
                Ok(class::parse(&parameters).map_err(|failure| failure.context(&format!("class {name}")))?.0)
            }
        }
    }

    /// The audiences that a pod's token may be for, best first.
    pub fn audiences<'a>(&'a self, asked: Option<&'a str>) -> Vec<&'a str> {
        match asked {
            Some(asked) => vec![asked],
            None => vec![&self.audience, VAULT_AUDIENCE],
        }
    }

    /// Keeps what is shown, if that is wanted and another pod may have it.
    pub fn remember(&self, request: &Publish, content: &Content, payload: &Payload) {
        let Some(last_good) = self.last_good.as_ref().filter(|_| content.is_shared()) else { return };
        if let Err(error) = last_good.keep(&cache::name_of(request), payload, self.clock.now()) {
            warn!(%error, volume = request.volume_id, "cannot keep the last good files");
        }
    }

    /// Says at the pod how its volume is now. Nothing waits for it: what matters is in the volume and its condition.
    pub fn announce(&self, request: &Publish, health: Health) {
        let (credentials, pod) = (self.credentials.clone(), request.pod.clone());
        let reason = match health.freshness {
            Some(Freshness::Fresh) => "SecretsFresh",
            Some(Freshness::Stale) => "SecretsStale",
            Some(Freshness::Expired) => "SecretsExpired",
            None => return,
        };
        let note = format!("volume {}: {}", request.place.volume, health.message);
        let told = Told { warning: health.freshness != Some(Freshness::Fresh), reason, note };
        tokio::spawn(async move {
            if let Err(failure) = credentials.tell(&pod, told).await {
                debug!(pod = pod.name, namespace = pod.namespace, %failure, "no Event at the pod");
            }
        });
    }

    /// What an earlier volume of the same service account with the same attributes showed.
    pub fn recall(&self, request: &Publish) -> Option<(Payload, Timestamp)> {
        self.last_good.as_ref()?.find(&cache::name_of(request), self.clock.now())
    }

    /// What the sources of a plan are read with, as the pod.
    pub fn tools(&self, pod: &Pod, plan: &Plan, server: Client) -> Tools {
        let who = format!("service account {}/{}", pod.namespace, pod.service_account);
        let server = match &plan.namespace {
            Some(namespace) => server.with_namespace(namespace),
            None => server,
        };
        let mount = plan.mount.as_deref().unwrap_or(&self.auth_mount);
        Tools {
            session: Session::of_pod(server, mount, &plan.role, who, self.clock.clone()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            metrics: self.metrics.clone(),
            refresh: plan.refresh,
            hearing: self.hearing.clone(),
        }
    }
}
