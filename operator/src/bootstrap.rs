//! What must be there before the first object: the Secret with the static seal key (the server's pods wait for it), and
//! the operator's own hash key. Both are created once and never overwritten, whoever comes first and whatever dies in
//! between.
//!
//! A seal key is made once in the life of an installation: that it was made is remembered in a ConfigMap, and a Secret
//! that is gone later is not replaced. A new key would not open what the lost one sealed, and the server would be gone
//! for good with the next restart, silently.

use std::{collections::BTreeMap, sync::atomic::AtomicI64, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use holdfast_base::{Entropy, SystemEntropy};
use holdfast_crd_types::names;
use holdfast_runtime::Shutdown;
use holdfast_secret::SecretBytes;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, ObjectReference, Secret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;
use tracing::{error, info, warn};

use crate::{keyed::HashKey, settings::Settings};

/// Key of both Secrets.
const KEY: &str = "key";
/// Between two looks at the seal key.
const LOOK: Duration = Duration::from_secs(10);

/// Makes the operator's hash key if it is absent, and answers it.
pub async fn hash_key(kube: &Client, settings: &Settings, entropy: &dyn Entropy) -> anyhow::Result<HashKey> {
    let api: Api<Secret> = Api::namespaced(kube.clone(), &settings.namespace);
    let name = format!("{}-hash-key", settings.lease_name);
    let key = ensure(&api, &name, "Key of the hashes in the status of Holdfast objects.", entropy).await?;
    Ok(HashKey::new(key))
}

/// Makes the seal key if there never was one. `false`: there was one, and its Secret is gone.
pub async fn seal_key(kube: &Client, settings: &Settings, name: &str, entropy: &dyn Entropy) -> anyhow::Result<bool> {
    let api: Api<Secret> = Api::namespaced(kube.clone(), &settings.namespace);
    let marks: Api<ConfigMap> = Api::namespaced(kube.clone(), &settings.namespace);
    let mark = mark_name(settings);
    let known = marks.get_opt(&mark).await?.and_then(|map| map.data).is_some_and(|data| data.contains_key(name));
    if known && api.get_opt(name).await?.is_none() {
        return Ok(false);
    }
    let what = "Root of all encryption of this Holdfast: who can read it can unseal. Without it all data is lost.";
    ensure(&api, name, what, entropy).await?;
    if !known {
        // After the Secret: whoever dies in between finds the Secret.
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(mark.clone()),
                labels: Some(BTreeMap::from([(names::LABEL_MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(name.to_owned(), "made; a Secret that is gone is not made anew".to_owned())])),
            ..ConfigMap::default()
        };
        match marks.create(&PostParams::default(), &map).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let data = json!({ "data": map.data });
                marks.patch(&mark, &PatchParams::default(), &Patch::Merge(&data)).await?;
            }
            other => drop(other?),
        }
    }
    Ok(true)
}

/// Name of the ConfigMap that remembers which keys were made.
fn mark_name(settings: &Settings) -> String {
    format!("{}-keys", settings.lease_name)
}

/// Sees to the seal key until it is there, or until the shutdown; says what is wrong while it is not.
pub async fn keep_seal_key(
    kube: Client,
    settings: Settings,
    name: String,
    missing: Gauge<i64, AtomicI64>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let reporter = Reporter { controller: "holdfast".to_owned(), instance: Some(settings.pod_name.clone()) };
    let recorder = Recorder::new(kube.clone(), reporter);
    loop {
        match seal_key(&kube, &settings, &name, &SystemEntropy).await {
            Ok(there) => {
                missing.set(i64::from(!there));
                if !there {
                    report(&recorder, &settings, &name).await;
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "cannot look after the seal key"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

async fn report(recorder: &Recorder, settings: &Settings, name: &str) {
    let note = format!(
        "Secret {name} with the seal key is gone. No new one is made: it would not open what is stored. Put it back from \
         a backup; servers that run still hold the key, so do not restart them before. To begin anew without any data, \
         delete ConfigMap {}",
        mark_name(settings)
    );
    error!(secret = name, "{note}");
    let event = Event {
        type_: EventType::Warning,
        reason: "SealKeyMissing".to_owned(),
        note: Some(note),
        action: "Bootstrap".to_owned(),
        secondary: None,
    };
    // About the ConfigMap, which is there as long as this holds.
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("ConfigMap".to_owned()),
        name: Some(mark_name(settings)),
        namespace: Some(settings.namespace.clone()),
        ..ObjectReference::default()
    };
    if let Err(error) = recorder.publish(&event, &about).await {
        warn!(%error, "event not written");
    }
}

/// The key in this Secret: the one that is there, or a new one of 32 random bytes, stored as base64 text.
async fn ensure(api: &Api<Secret>, name: &str, what: &str, entropy: &dyn Entropy) -> anyhow::Result<SecretBytes> {
    if let Some(found) = api.get_opt(name).await? {
        return content(&found, name);
    }
    let mut key = [0u8; 32];
    entropy.fill(&mut key);
    let secret = secret(name, what, &key);
    match api
        .create(&PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..Default::default() }, &secret)
        .await
    {
        Ok(made) => {
            info!(secret = name, "made a key");
            content(&made, name)
        }
        // Another replica was faster: theirs counts.
        Err(kube::Error::Api(status)) if status.code == 409 => content(&api.get(name).await?, name),
        Err(error) => Err(anyhow::Error::new(error).context(format!("making Secret {name}"))),
    }
}

fn secret(name: &str, what: &str, key: &[u8]) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([("holdfast.dev/description".to_owned(), what.to_owned())])),
            labels: Some(BTreeMap::from([(names::LABEL_MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned())])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(BASE64.encode(key).into_bytes()))])),
        ..Secret::default()
    }
}

fn content(secret: &Secret, name: &str) -> anyhow::Result<SecretBytes> {
    let key = secret.data.as_ref().and_then(|data| data.get(KEY)).filter(|key| !key.0.is_empty());
    let key =
        key.ok_or_else(|| anyhow::anyhow!("Secret {name} is there but has no {KEY:?}: put it back from a backup"))?;
    Ok(SecretBytes::new(key.0.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_secret_is_immutable_and_holds_32_bytes_as_text() {
        let made = secret("seal", "x", &[7u8; 32]);
        assert_eq!(made.immutable, Some(true));
        let text = content(&made, "seal").unwrap();
        assert_eq!(BASE64.decode(text.expose()).unwrap(), [7u8; 32]);
    }

    #[test]
    fn an_empty_secret_is_not_taken_for_a_key() {
        assert!(content(&Secret::default(), "seal").unwrap_err().to_string().contains("backup"));
    }
}
