//! What the provider was asked for, and what it keeps for one pod and class.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE};
use hmac::{Hmac, KeyInit, Mac};
use holdfast_base::Entropy;
use holdfast_secret::{SecretBytes, SecretString};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::{
    attributes::Plan,
    content::Content,
    mounter::place::Place,
    payload::{Entry, Payload},
    proto::provider::{MountRequest, ObjectVersion},
    request::{Pod, TOKENS, pod_token},
    services::Services,
    source::Tools,
    state::VolumeRecord,
    status::Failure,
};

/// A request, taken apart.
pub struct Asked {
    /// Parameters of the class.
    pub parameters: BTreeMap<String, String>,
    /// The pod.
    pub pod: Pod,
    /// Mode of files that name none.
    pub mode: u32,
    target: PathBuf,
    tokens: Option<SecretString>,
}

/// What is kept for one pod and class.
pub struct Provided {
    content: Content,
    tools: Tools,
    record: VolumeRecord,
    complete: bool,
}

/// The key of versions, so that a version does not tell who has the same secret.
pub struct VersionKey(SecretBytes);

// === impl Asked ===

impl Asked {
    /// Reads a request. A target below kubelet's folder must be the pod's.
    pub fn parse(request: &MountRequest, kubelet_root: &Path) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::Invalid(format!("the secrets-store driver's request: {what}"));
        let mut parameters: BTreeMap<String, String> =
            serde_json::from_str(&request.attributes).map_err(|_| bad("attributes are no JSON object of strings"))?;
        let tokens = parameters.remove(TOKENS).filter(|text| !text.is_empty()).map(SecretString::new);
        let mut given = |key: &str| {
            let value = parameters.remove(&format!("csi.storage.k8s.io/{key}")).filter(|value| !value.is_empty());
            value.ok_or_else(|| bad(&format!("no {key}: its CSIDriver object needs podInfoOnMount: true")))
        };
        let pod = Pod {
            name: given("pod.name")?,
            namespace: given("pod.namespace")?,
            uid: given("pod.uid")?,
            service_account: given("serviceAccount.name")?,
        };
        parameters.retain(|key, _| !key.starts_with("csi.storage.k8s.io/"));
        let target = PathBuf::from(&request.target_path);
        if Place::of(&target, kubelet_root).is_some_and(|place| place.pod != pod.uid) {
            return Err(Failure::Denied("target_path belongs to another pod than attributes say".to_owned()));
        }
        let mode = match request.permission.trim() {
            "" => 0o644,
            text => text.parse().ok().filter(|mode| *mode <= 0o777).ok_or_else(|| bad("permission is no file mode"))?,
        };
        Ok(Self { parameters, pod, mode, target, tokens })
    }

    /// Did tokens come with it?
    pub fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The pod's token for the first of `audiences` that has one.
    pub fn token(&self, audiences: &[&str]) -> Result<SecretString, Failure> {
        let tokens = self.tokens.iter().map(|tokens| (TOKENS.to_owned(), tokens.expose().to_owned())).collect();
        pod_token(&tokens, &Default::default(), audiences, &self.pod)
    }

    /// Name of what is kept for it: pod and class.
    pub fn volume_id(&self) -> String {
        format!("{}/{}", self.pod.uid, self.volume())
    }

    /// Stands for the class where a volume's name stands: its parameters tell it from others of the pod.
    fn volume(&self) -> String {
        let text = serde_json::to_string(&self.parameters).unwrap_or_default();
        format!("class-{}", hex::encode(&Sha256::digest(text)[..8]))
    }
}

// === impl Provided ===

impl Provided {
    /// Nothing read yet; written down before anything is, so that whatever is made can be found and given back.
    pub async fn new(services: &Services, asked: &Asked, mut plan: Plan, tools: Tools) -> Result<Self, Failure> {
        for file in &mut plan.files {
            file.mode.get_or_insert(asked.mode);
        }
        let fresh = VolumeRecord {
            volume_id: asked.volume_id(),
            volume: asked.volume(),
            target: asked.target.clone(),
            pod: asked.pod.clone(),
            paths: Default::default(),
            ttls: Default::default(),
            leases: Default::default(),
        };
        let node = |error: io::Error| Failure::Node(format!("state folder: {error}"));
        services.releases.cancel(&fresh.volume_id).await.map_err(node)?;
        let record = services.state.volume(&fresh.volume_id).unwrap_or(fresh);
        services.state.save_volume(&record).map_err(node)?;
        let content = Content::new(plan, &record.volume, None, &record);
        Ok(Self { content, tools, record, complete: false })
    }

    /// The files as they are now.
    pub async fn payload(&mut self, services: &Services, token: SecretString) -> Result<Payload, Failure> {
        self.tools.session.set_token(token);
        if self.complete {
            self.content.reread(&self.tools).await?;
        }
        let payload = self.content.complete(&self.tools).await?;
        self.complete = true;
        self.remember(services);
        Ok(payload)
    }

    /// Renews the leases that are due.
    pub async fn renew(&mut self, services: &Services) {
        self.content.renew(&self.tools).await;
        self.remember(services);
    }

    /// Has kubelet taken the pod's folder away?
    pub async fn is_gone(&self, services: &Services) -> bool {
        !services.mounter.has_pod(&self.record.pod.uid).await.unwrap_or(true)
    }

    fn remember(&mut self, services: &Services) {
        let leases = self.content.leases();
        if leases != self.record.leases {
            self.record.leases = leases;
            if let Err(error) = services.state.save_volume(&self.record) {
                warn!(%error, volume = self.record.volume_id, "cannot write the record of a class");
            }
        }
    }
}

// === impl VersionKey ===

impl VersionKey {
    /// The node's key: made when there is none.
    pub fn open(folder: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        let path = folder.join("version-key");
        match fs::read(&path) {
            Ok(bytes) if bytes.len() == 32 => return Ok(Self(SecretBytes::new(bytes))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut key = vec![0; 32];
        entropy.fill(&mut key);
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&key)?;
        file.sync_all()?;
        Ok(Self(SecretBytes::new(key)))
    }

    /// The version of a file: changes when its content, its mode or its class does.
    pub fn version(&self, asked: &Asked, name: &str, entry: &Entry) -> ObjectVersion {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).map(|mut mac| {
            for part in [asked.volume_id().as_bytes(), name.as_bytes(), &entry.mode.to_be_bytes(), entry.bytes.expose()]
            {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part);
            }
            BASE64_URL_SAFE.encode(mac.finalize().into_bytes())
        });
        ObjectVersion { id: name.to_owned(), version: mac.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    fn request(attributes: &str) -> MountRequest {
        MountRequest {
            attributes: attributes.to_owned(),
            target_path: "/k/pods/u-1/volumes/kubernetes.io~csi/v/mount".to_owned(),
            permission: "420".to_owned(),
            ..MountRequest::default()
        }
    }

    const ATTRIBUTES: &str = r#"{"roleName":"app","objects":"x","csi.storage.k8s.io/pod.name":"p","csi.storage.k8s.io/pod.namespace":"n","csi.storage.k8s.io/pod.uid":"u-1","csi.storage.k8s.io/serviceAccount.name":"s","csi.storage.k8s.io/ephemeral":"true"}"#;

    #[test]
    fn a_request_is_taken_apart_and_must_agree_with_itself() {
        let asked = Asked::parse(&request(ATTRIBUTES), Path::new("/k")).unwrap();
        assert_eq!(asked.parameters.keys().collect::<Vec<_>>(), ["objects", "roleName"]);
        assert_eq!((asked.mode, asked.pod.uid.as_str(), asked.has_tokens()), (0o644, "u-1", false));
        let other = ATTRIBUTES.replace("u-1", "u-2");
        assert!(matches!(Asked::parse(&request(&other), Path::new("/k")), Err(Failure::Denied(_))));
        assert!(matches!(Asked::parse(&request("[]"), Path::new("/k")), Err(Failure::Invalid(_))));
    }

    #[test]
    fn a_version_changes_with_the_content_and_not_with_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Asked::parse(&request(ATTRIBUTES), Path::new("/k")).unwrap();
        let entry = |text: &str| Entry { bytes: SecretBytes::new(text.as_bytes()), mode: 0o644 };
        let version = |seed, text: &str| {
            let key = VersionKey::open(folder.path(), &SeededEntropy::new(seed)).unwrap();
            key.version(&asked, "a", &entry(text)).version
        };
        let first = version(1, "x");
        assert_eq!(first, version(2, "x"));
        assert_ne!(first, version(2, "y"));
    }
}
