//! A publish request as kubelet sends it, checked and taken apart: the volume, the pod, its token. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use holdfast_secret::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    mounter::place::Place,
    proto::csi::{NodePublishVolumeRequest, VolumeCapability, volume_capability::AccessType},
    status::Failure,
};

/// Key of the pod's tokens.
pub const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// The pod that a volume is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Its service account.
    pub service_account: String,
}

/// A checked request.
#[derive(Debug)]
pub struct Publish {
    /// Kubelet's name of the volume: unique for pod and volume.
    pub volume_id: String,
    /// Where to mount: pod and volume, as the target path has them.
    pub place: Place,
    /// The target path.
    pub target: PathBuf,
    /// The pod.
    pub pod: Pod,
    /// The pod's fsGroup.
    pub group: Option<u32>,
    /// SELinux context for the mount.
    pub selinux: Option<String>,
    /// What the pod's author wrote, without kubelet's keys.
    pub attributes: BTreeMap<String, String>,
}

/// What the request of a volume must have before anything else is looked at.
pub fn check_ids<'a>(volume_id: &'a str, target: &'a str) -> Result<(&'a str, &'a Path), Failure> {
    if volume_id.is_empty() {
        return Err(Failure::Invalid("volume_id is missing".to_owned()));
    }
    if volume_id.len() > 128 {
        return Err(Failure::Invalid("volume_id is longer than 128 bytes".to_owned()));
    }
    if target.is_empty() {
        return Err(Failure::Invalid("target_path is missing".to_owned()));
    }
    Ok((volume_id, Path::new(target)))
}

impl Publish {
    /// Checks a request. `kubelet_root` is the folder that all targets must lie in.
    pub fn parse(request: &NodePublishVolumeRequest, kubelet_root: &Path) -> Result<Self, Failure> {
        let (volume_id, target) = check_ids(&request.volume_id, &request.target_path)?;
        let place = place_of(target, kubelet_root)?;
        let (group, selinux) = check_capability(request.volume_capability.as_ref())?;
        let context = &request.volume_context;
        let given = |key: &str| {
            let key = format!("csi.storage.k8s.io/{key}");
            context.get(&key).filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
                Failure::Invalid(format!(
                    "volume_context has no {key}: the CSIDriver object needs podInfoOnMount: true"
                ))
            })
        };
        if given("ephemeral").is_ok_and(|value| value != "true") {
            return Err(Failure::Invalid(
                "csi.holdfast.dev serves inline volumes only: use pod.spec.volumes[].csi, not a PersistentVolume"
                    .to_owned(),
            ));
        }
        given("ephemeral")?;
        let pod = Pod {
            name: given("pod.name")?,
            namespace: given("pod.namespace")?,
            uid: given("pod.uid")?,
            service_account: given("serviceAccount.name")?,
        };
        if !request.readonly {
            return Err(Failure::Invalid(
                "set readOnly: true on the volume: nothing in a pod may write to it".to_owned(),
            ));
        }
        if place.pod != pod.uid {
            return Err(Failure::Denied(format!(
                "target_path belongs to pod {}, volume_context says {}",
                place.pod, pod.uid
            )));
        }
        let attributes = context.iter().filter(|(key, _)| !key.starts_with("csi.storage.k8s.io/"));
        Ok(Self {
            volume_id: volume_id.to_owned(),
            place,
            target: target.to_owned(),
            pod,
            group,
            selinux,
            attributes: attributes.map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }
}

/// The volume of a target path.
pub fn place_of(target: &Path, kubelet_root: &Path) -> Result<Place, Failure> {
    Place::of(target, kubelet_root).ok_or_else(|| {
        let pods = kubelet_root.join("pods");
        Failure::Invalid(format!(
            "target_path {} is none of kubelet's, {}/<uid>/volumes/kubernetes.io~csi/<volume>/mount (flag --kubelet-root)",
            target.display(),
            pods.display()
        ))
    })
}

fn check_capability(capability: Option<&VolumeCapability>) -> Result<(Option<u32>, Option<String>), Failure> {
    let capability = capability.ok_or_else(|| Failure::Invalid("volume_capability is missing".to_owned()))?;
    let mount = match &capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => {
            return Err(Failure::Invalid("secrets are files: block volumes are not served".to_owned()));
        }
        None => return Err(Failure::Invalid("volume_capability has no access type".to_owned())),
    };
    let group = match mount.volume_mount_group.as_str() {
        "" => None,
        text => {
            Some(text.parse().map_err(|_| Failure::Invalid(format!("volume_mount_group {text:?} is no group id")))?)
        }
    };
    let mut selinux = None;
    for flag in &mount.mount_flags {
        match flag.strip_prefix("context=").map(|context| context.trim_matches('"')) {
            Some(context) if !context.is_empty() && !context.contains(['"', '\\', '\0', '\n']) => {
                selinux = Some(context.to_owned());
            }
            // Flags may hold secrets, says the specification: not repeated here.
            _ => return Err(Failure::Invalid("mount_flags: only context= (SELinux) is understood".to_owned())),
        }
    }
    Ok((group, selinux))
}

/// The pod's token for the first of `audiences` that has one: from `secrets` (clusters with
/// serviceAccountTokenInSecrets), else from `volume_context`. Its claims must agree with `pod`; the signature is the server's to check.
pub fn pod_token(
    secrets: &HashMap<String, String>,
    context: &HashMap<String, String>,
    audiences: &[&str],
    pod: &Pod,
) -> Result<SecretString, Failure> {
    let audience = audiences.first().copied().unwrap_or_default();
    let text = secrets.get(TOKENS).or_else(|| context.get(TOKENS)).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| {
        Failure::Invalid(format!(
            "no service account token came with the request: the CSIDriver object needs tokenRequests with audience \
             {audience:?}"
        ))
    })?;
    #[derive(Deserialize)]
    struct Token {
        token: SecretString,
    }
    let mut tokens: BTreeMap<String, Token> = serde_json::from_str(text)
        .map_err(|_| Failure::Invalid(format!("{TOKENS} is not the JSON object that kubelet sends")))?;
    let there = tokens.keys().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let token = audiences.iter().find_map(|name| tokens.remove(*name)).map(|token| token.token).ok_or_else(|| {
        Failure::Invalid(format!(
            "the request has tokens for {there}, none for {audience:?}: tokenRequests of the CSIDriver object and the \
             driver's --audience differ"
        ))
    })?;
    check_claims(&token, pod)?;
    Ok(token)
}

fn check_claims(token: &SecretString, pod: &Pod) -> Result<(), Failure> {
    let malformed = || Failure::Denied("the service account token is not a bound token of Kubernetes".to_owned());
    let payload = token.expose().split('.').nth(1).ok_or_else(malformed)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed())?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| malformed())?;
    let facts = &claims["kubernetes.io"];
    for (what, claim, expected) in [
        ("pod UID", &facts["pod"]["uid"], &pod.uid),
        ("pod name", &facts["pod"]["name"], &pod.name),
        ("namespace", &facts["namespace"], &pod.namespace),
        ("service account", &facts["serviceaccount"]["name"], &pod.service_account),
    ] {
        let claim = claim.as_str().ok_or_else(malformed)?;
        if claim != expected {
            return Err(Failure::Denied(format!("the token's {what} is {claim:?}, volume_context says {expected:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::csi::volume_capability::{BlockVolume, MountVolume};

    const ROOT: &str = "/var/lib/kubelet";

    fn pod() -> Pod {
        Pod { name: "orders-1".into(), namespace: "shop".into(), uid: "u-1".into(), service_account: "orders".into() }
    }

    fn jwt(uid: &str) -> String {
        let claims = serde_json::json!({"kubernetes.io": {
            "namespace": "shop", "pod": {"name": "orders-1", "uid": uid}, "serviceaccount": {"name": "orders", "uid": "s"}}});
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn tokens(audience: &str, jwt: &str) -> HashMap<String, String> {
        let text = serde_json::json!({audience: {"token": jwt, "expirationTimestamp": "2026-11-24T00:00:00Z"}});
        HashMap::from([(TOKENS.to_owned(), text.to_string())])
    }

    fn request() -> NodePublishVolumeRequest {
        let context = [
            ("csi.storage.k8s.io/pod.name", "orders-1"),
            ("csi.storage.k8s.io/pod.namespace", "shop"),
            ("csi.storage.k8s.io/pod.uid", "u-1"),
            ("csi.storage.k8s.io/serviceAccount.name", "orders"),
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("credentials", "orders-ro"),
        ];
        NodePublishVolumeRequest {
            volume_id: "csi-1".into(),
            target_path: format!("{ROOT}/pods/u-1/volumes/kubernetes.io~csi/secrets/mount"),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume {
                    volume_mount_group: "2000".into(),
                    mount_flags: vec!["context=\"system_u:object_r:container_file_t:s0\"".into()],
                    ..MountVolume::default()
                })),
                access_mode: None,
            }),
            readonly: true,
            volume_context: context.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            ..NodePublishVolumeRequest::default()
        }
    }

    #[test]
    fn a_request_of_kubelet_is_taken_apart() {
        let publish = Publish::parse(&request(), Path::new(ROOT)).unwrap();
        assert_eq!((publish.place.volume.as_str(), publish.group, &publish.pod), ("secrets", Some(2000), &pod()));
        assert_eq!(publish.selinux.as_deref(), Some("system_u:object_r:container_file_t:s0"));
        assert_eq!(publish.attributes.into_iter().collect::<Vec<_>>(), [("credentials".into(), "orders-ro".into())]);
    }

    #[test]
    fn each_fault_of_a_request_is_an_invalid_argument() {
        type Spoil = fn(&mut NodePublishVolumeRequest);
        let faults: [(Spoil, &str); 10] = [
            (|r| r.volume_id.clear(), "volume_id"),
            (|r| r.target_path.clear(), "target_path"),
            (|r| r.target_path = "/etc".into(), "--kubelet-root"),
            (|r| r.target_path = format!("{ROOT}/../x"), "--kubelet-root"),
            (|r| r.volume_capability = None, "volume_capability"),
            (
                |r| {
                    r.volume_capability = Some(VolumeCapability {
                        access_type: Some(AccessType::Block(BlockVolume {})),
                        access_mode: None,
                    });
                },
                "block",
            ),
            (|r| drop(r.volume_context.remove("csi.storage.k8s.io/pod.uid")), "podInfoOnMount"),
            (|r| drop(r.volume_context.remove("csi.storage.k8s.io/ephemeral")), "ephemeral"),
            (|r| drop(r.volume_context.insert("csi.storage.k8s.io/ephemeral".into(), "false".into())), "inline"),
            (|r| r.readonly = false, "readOnly: true"),
        ];
        for (spoil, words) in faults {
            let mut request = request();
            spoil(&mut request);
            match Publish::parse(&request, Path::new(ROOT)).unwrap_err() {
                Failure::Invalid(text) => assert!(text.contains(words), "{words}: {text}"),
                other => panic!("{words}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_target_of_another_pod_is_refused() {
        let mut request = request();
        request.target_path = format!("{ROOT}/pods/u-2/volumes/kubernetes.io~csi/secrets/mount");
        assert!(matches!(Publish::parse(&request, Path::new(ROOT)), Err(Failure::Denied(_))));
    }

    #[test]
    fn a_token_in_secrets_wins_and_must_be_the_pods() {
        let (good, bad) = (tokens("holdfast", &jwt("u-1")), tokens("holdfast", &jwt("u-2")));
        assert_eq!(pod_token(&good, &bad, &["holdfast"], &pod()).unwrap().expose(), jwt("u-1"));
        assert!(pod_token(&HashMap::new(), &good, &["holdfast"], &pod()).is_ok());
        let error = pod_token(&bad, &good, &["holdfast"], &pod()).unwrap_err();
        assert_eq!(error, Failure::Denied("the token's pod UID is \"u-2\", volume_context says \"u-1\"".to_owned()));
    }

    #[test]
    fn a_missing_audience_names_both_sides() {
        let error = pod_token(&tokens("vault", &jwt("u-1")), &HashMap::new(), &["holdfast"], &pod()).unwrap_err();
        assert!(error.to_string().contains("\"vault\"") && error.to_string().contains("\"holdfast\""), "{error}");
        assert!(pod_token(&HashMap::new(), &HashMap::new(), &["holdfast"], &pod()).is_err());
        let garbage = tokens("holdfast", "not a token");
        assert!(matches!(pod_token(&garbage, &HashMap::new(), &["holdfast"], &pod()), Err(Failure::Denied(_))));
    }
}
