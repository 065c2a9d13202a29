//! What must be there before the first object: the Secret with the static seal key (the server's pods wait for it), and
//! the operator's own hash key. Both are created once and never overwritten, whoever comes first and whatever dies in
//! between.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use holdfast_base::Entropy;
use holdfast_crd_types::names;
use holdfast_secret::SecretBytes;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tracing::info;

use crate::{keyed::HashKey, settings::Settings};

/// Key of both Secrets.
const KEY: &str = "key";

/// Makes the Secrets that are absent; answers the operator's hash key.
pub async fn secrets(kube: &Client, settings: &Settings, entropy: &dyn Entropy) -> anyhow::Result<HashKey> {
    let api: Api<Secret> = Api::namespaced(kube.clone(), &settings.namespace);
    if let Some(name) = &settings.seal_secret {
        let what = "Root of all encryption of this Holdfast: who can read it can unseal. Without it all data is lost.";
        ensure(&api, name, what, entropy).await?;
    }
    let name = format!("{}-hash-key", settings.lease_name);
    let key = ensure(&api, &name, "Key of the hashes in the status of Holdfast objects.", entropy).await?;
    Ok(HashKey::new(key))
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
