//! The authority's life: kept in a Secret that all replicas share, announced in the webhook configuration, replaced with
//! an overlap. Whoever comes first writes; the others find it (compare-and-swap by resource version, no leader).

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use holdfast_base::{Clock, Timestamp};
use holdfast_runtime::{Admin, Shutdown};
use k8s_openapi::{
    ByteString, api::admissionregistration::v1::MutatingWebhookConfiguration, api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::certificate::{Authority, LEAF_LIFE};

/// Usual time between looks at Secret and configuration.
pub const PERIOD: Duration = Duration::from_secs(10);
/// A new authority is made when the current one has less than this left,
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// and used when it has been announced for this long.
pub const ANNOUNCE: Duration = Duration::from_secs(600);
/// Key of the Secret: [`State`] as JSON.
pub const STATE_KEY: &str = "authority.json";
/// Key of the Secret: what clients are to trust, PEM.
const BUNDLE_KEY: &str = "ca.crt";

/// The authorities of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Signs.
    pub current: Authority,
    /// Announced; will sign.
    pub next: Option<Authority>,
    /// No longer signs; still announced.
    pub previous: Option<Authority>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Namespace of the Secret and the Service.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the MutatingWebhookConfiguration.
    pub configuration: String,
    /// Names in the leaf.
    pub names: Vec<String>,
    /// Between looks.
    pub period: Duration,
}

/// What the listener serves with.
pub type Serving = Arc<ArcSwapOption<CertifiedKey>>;

impl State {
    /// The first state.
    pub fn new(now: Timestamp) -> anyhow::Result<Self> {
        Ok(Self { current: Authority::new(now)?, next: None, previous: None })
    }

    /// The certificates that clients are to trust, PEM.
    pub fn bundle(&self) -> String {
        let all = [Some(&self.current), self.next.as_ref(), self.previous.as_ref()];
        all.into_iter().flatten().map(|authority| authority.certificate.trim_end().to_owned() + "\n").collect()
    }

    /// The next state, if it is time for one.
    pub fn advance(&self, now: Timestamp) -> anyhow::Result<Option<Self>> {
        let mut state = self.clone();
        if state.previous.as_ref().is_some_and(|previous| previous.expires <= now) {
            state.previous = None;
        }
        match &state.next {
            None if state.current.expires <= now + RENEW_BEFORE => state.next = Some(Authority::new(now)?),
            Some(next) if next.made + ANNOUNCE <= now => {
                let next = next.clone();
                state.previous = Some(std::mem::replace(&mut state.current, next));
                state.next = None;
            }
            _ => {}
        }
        Ok((state != *self).then_some(state))
    }
}

/// Keeps certificate and announcement right until the shutdown. Sets readiness once both are there.
pub async fn keep(
    client: Client,
    place: Place,
    clock: Arc<dyn Clock>,
    serving: Serving,
    admin: Admin,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut leaf: Option<(String, Timestamp)> = None;
    loop {
        match look(&client, &place, &*clock, &serving, &mut leaf).await {
            Ok(()) => admin.set_ready(true),
            // What is served stays right for days: readiness is not taken back for a failing look.
            Err(error) => warn!(error = format!("{error:#}"), "cannot look after certificate and configuration"),
        }
        tokio::select! {
            () = tokio::time::sleep(place.period) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

async fn look(
    client: &Client,
    place: &Place,
    clock: &dyn Clock,
    serving: &Serving,
    leaf: &mut Option<(String, Timestamp)>,
) -> anyhow::Result<()> {
    let now = clock.now();
    let state = stored(client, place, now).await?;
    let known = leaf
        .as_ref()
        .is_some_and(|(authority, made)| *authority == state.current.certificate && now < *made + LEAF_LIFE / 3);
    if !known {
        serving.store(Some(Arc::new(state.current.leaf(&place.names, now)?)));
        info!(names = place.names.join(" "), authority_until = %state.current.expires, "new serving certificate");
        *leaf = Some((state.current.certificate.clone(), now));
    }
    announce(client, place, &state.bundle()).await
}

async fn stored(client: &Client, place: &Place, now: Timestamp) -> anyhow::Result<State> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let context = || format!("Secret {}/{}", place.namespace, place.secret);
    for _ in 0..5 {
        let found = secrets.get_opt(&place.secret).await.with_context(context)?;
        let state = found.as_ref().and_then(read);
        let (state, written) = match (found, state) {
            (None, _) => {
                let state = State::new(now)?;
                let secret = Secret {
                    metadata: ObjectMeta { name: Some(place.secret.clone()), ..ObjectMeta::default() },
                    data: Some(data(&state)?),
                    type_: Some("holdfast.dev/webhook-ca".to_owned()),
                    ..Secret::default()
                };
                (state, secrets.create(&PostParams::default(), &secret).await.map(drop))
            }
            (Some(secret), state) => {
                let next = match &state {
                    Some(state) => state.advance(now)?,
                    // Empty, as a chart may make it, or unreadable.
                    None => Some(State::new(now)?),
                };
                match (next, state) {
                    (None, Some(state)) => return Ok(state),
                    (None, None) => continue,
                    (Some(next), _) => {
                        let secret = Secret { data: Some(data(&next)?), ..secret };
                        let written = secrets.replace(&place.secret, &PostParams::default(), &secret).await;
                        (next, written.map(drop))
                    }
                }
            }
        };
        match written {
            Ok(()) => {
                info!(authority_until = %state.current.expires, next = state.next.is_some(), "certificate authority written");
                return Ok(state);
            }
            // Another replica was faster: take what it wrote.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(context),
        }
    }
    anyhow::bail!("{}: changes all the time", context())
}

fn read(secret: &Secret) -> Option<State> {
    serde_json::from_slice(&secret.data.as_ref()?.get(STATE_KEY)?.0).ok()
}

fn data(state: &State) -> anyhow::Result<std::collections::BTreeMap<String, ByteString>> {
    let entry = |key: &str, value: Vec<u8>| (key.to_owned(), ByteString(value));
    Ok([entry(STATE_KEY, serde_json::to_vec(state)?), entry(BUNDLE_KEY, state.bundle().into_bytes())].into())
}

/// Puts the bundle into every webhook of the configuration that lacks it.
async fn announce(client: &Client, place: &Place, bundle: &str) -> anyhow::Result<()> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let context = || format!("MutatingWebhookConfiguration {}", place.configuration);
    let configuration = configurations.get(&place.configuration).await.with_context(context)?;
    let lacking: Vec<Value> = configuration
        .webhooks
        .unwrap_or_default()
        .iter()
        .filter(|webhook| webhook.client_config.ca_bundle.as_ref().is_none_or(|held| held.0 != bundle.as_bytes()))
        .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": STANDARD.encode(bundle) } }))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let patch = Patch::Strategic(json!({ "webhooks": lacking }));
    configurations.patch(&place.configuration, &PatchParams::default(), &patch).await.with_context(context)?;
    info!(configuration = place.configuration, "CA bundle announced");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_new_authority_is_announced_before_it_signs_and_the_old_one_stays_announced() {
        let start: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let first = State::new(start).unwrap();
        assert_eq!(first.advance(start + 300 * DAY).unwrap(), None);

        let late = start + 340 * DAY;
        let announced = first.advance(late).unwrap().unwrap();
        assert_eq!(announced.current, first.current);
        assert_eq!(announced.bundle().matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(announced.advance(late + Duration::from_secs(60)).unwrap(), None);

        let later = late + ANNOUNCE;
        let promoted = announced.advance(later).unwrap().unwrap();
        assert_eq!(Some(&promoted.current), announced.next.as_ref());
        assert_eq!(promoted.previous.as_ref(), Some(&first.current));
        assert_eq!(promoted.bundle().matches("BEGIN CERTIFICATE").count(), 2);

        let alone = promoted.advance(start + 366 * DAY).unwrap().unwrap();
        assert_eq!(alone.previous, None);
        assert_eq!(alone.current, promoted.current);
    }
}
