//! Finds pods that ask for injection and did not get it: made while the webhook was away under `failurePolicy: Ignore`,
//! before it was installed, or where its configuration does not look. Each is in a metric, and has an Event that says what
//! to do. A watch over metadata; nothing is kept but what was missed.
//!
//! Here and not in the webhook: the operator watches pods already and writes Events, and the webhook, which every pod of
//! the cluster can reach, needs no further right.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};
use holdfast_crd_types::names;
use holdfast_runtime::Shutdown;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        events::{Event, EventType},
        watcher,
    },
};
use tracing::{debug, warn};

use crate::{context::Context, metrics::InNamespace};

/// Where the webhook never looks, besides the operator's own namespace.
const LEFT_OUT: &[&str] = &["kube-system", "kube-public", "kube-node-lease"];
/// Annotations by which a pod asks.
const VAULT_INJECT: &str = "vault.hashicorp.com/agent-inject";
/// Set by an injector, ours or another.
const VAULT_STATUS: &str = "vault.hashicorp.com/agent-inject-status";
/// Kubernetes' annotation of pods that only show what a kubelet runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Pods that were missed, by uid, with their namespaces.
#[derive(Debug, Default)]
struct Missed(HashMap<String, String>);

/// Watches the pods of a scope until the shutdown.
pub async fn watch(ctx: std::sync::Arc<Context>, scope: Option<String>, shutdown: Shutdown) -> anyhow::Result<()> {
    let api: Api<PartialObjectMeta<Pod>> = match &scope {
        Some(namespace) => Api::namespaced(ctx.kube.clone(), namespace),
        None => Api::all(ctx.kube.clone()),
    };
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let (mut missed, mut listed) = (Missed::default(), HashMap::new());
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = shutdown.cancelled() => return Ok(()),
        };
        match event {
            Ok(Some(watcher::Event::Init)) => listed = HashMap::new(),
            Ok(Some(watcher::Event::InitApply(pod))) => {
                if let Some((uid, namespace)) = look(&ctx, &missed, &pod).await {
                    listed.insert(uid, namespace);
                }
            }
            Ok(Some(watcher::Event::InitDone)) => missed.replace(&ctx, std::mem::take(&mut listed)),
            Ok(Some(watcher::Event::Apply(pod))) => match look(&ctx, &missed, &pod).await {
                Some((uid, namespace)) => missed.insert(&ctx, uid, namespace),
                None => missed.remove(&ctx, &pod.uid().unwrap_or_default()),
            },
            Ok(Some(watcher::Event::Delete(pod))) => missed.remove(&ctx, &pod.uid().unwrap_or_default()),
            Ok(None) => anyhow::bail!("the watch over pods ended"),
            Err(error) => debug!(%error, "watch over pods"),
        }
    }
}

/// The pod's uid and namespace if it was missed; its author is told once.
async fn look(ctx: &Context, known: &Missed, pod: &PartialObjectMeta<Pod>) -> Option<(String, String)> {
    let (uid, namespace) = (pod.uid()?, pod.namespace()?);
    let asked = asks(pod, ctx.settings.vault_annotations)?;
    if LEFT_OUT.contains(&namespace.as_str()) || namespace == ctx.settings.namespace {
        return None;
    }
    if !known.0.contains_key(&uid) {
        warn!(namespace, pod = pod.name_any(), annotation = asked, "a pod asks for injection and did not get it");
        tell(ctx, pod, asked).await;
    }
    Some((uid, namespace))
}

/// The annotation by which a pod without agent asks for one.
fn asks(pod: &PartialObjectMeta<Pod>, vault: bool) -> Option<&'static str> {
    let annotations = pod.annotations();
    // A pod that goes is no longer anybody's concern.
    let gone = pod.metadata.deletion_timestamp.is_some() || annotations.contains_key(MIRROR);
    let served = annotations.contains_key(names::LABEL_INJECTED)
        || annotations.get(VAULT_STATUS).is_some_and(|status| status == "injected");
    if gone || served {
        return None;
    }
    let says = |key: &str| annotations.get(key).map(|value| value.trim().to_ascii_lowercase());
    let no = |value: &String| ["", "0", "f", "false"].contains(&value.as_str());
    if says(names::ANNOTATION_INJECT).is_some_and(|value| !no(&value)) {
        return Some(names::ANNOTATION_INJECT);
    }
    (vault && says(VAULT_INJECT).is_some_and(|value| !no(&value))).then_some(VAULT_INJECT)
}

async fn tell(ctx: &Context, pod: &PartialObjectMeta<Pod>, annotation: &str) {
    let note = format!(
        "the pod asks for injection by {annotation} and did not get it: it was made while the webhook was away, or where \
         the webhook does not look; delete it so that it is made anew"
    );
    let event = Event {
        type_: EventType::Warning,
        reason: "InjectionMissed".to_owned(),
        note: Some(note),
        action: "Inject".to_owned(),
        secondary: None,
    };
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name_any()),
        namespace: pod.namespace(),
        uid: pod.uid(),
        ..ObjectReference::default()
    };
    if let Err(error) = ctx.recorder.publish(&event, &about).await {
        debug!(%error, "event not written");
    }
}

impl Missed {
    fn insert(&mut self, ctx: &Context, uid: String, namespace: String) {
        self.0.insert(uid, namespace.clone());
        self.count(ctx, &namespace);
    }

    fn remove(&mut self, ctx: &Context, uid: &str) {
        if let Some(namespace) = self.0.remove(uid) {
            self.count(ctx, &namespace);
        }
    }

    /// After a list of all: what is not in it is gone.
    fn replace(&mut self, ctx: &Context, all: HashMap<String, String>) {
        let before = std::mem::replace(&mut self.0, all);
        let namespaces: Vec<String> = before.into_values().chain(self.0.values().cloned()).collect();
        for namespace in namespaces {
            self.count(ctx, &namespace);
        }
    }

    fn count(&self, ctx: &Context, namespace: &str) {
        let label = InNamespace { namespace: namespace.to_owned() };
        match self.0.values().filter(|other| *other == namespace).count() {
            0 => drop(ctx.metrics.missed_pods.remove(&label)),
            number => {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                ctx.metrics.missed_pods.get_or_create(&label).set(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(annotations: serde_json::Value) -> PartialObjectMeta<Pod> {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "annotations": annotations },
        }))
        .unwrap()
    }

    #[test]
    fn pods_that_ask_without_an_answer_are_found() {
        let own = json!({ "holdfast.dev/inject": "tuned" });
        let vault = json!({ "vault.hashicorp.com/agent-inject": "true" });
        assert_eq!(asks(&pod(own), false), Some("holdfast.dev/inject"));
        assert_eq!(asks(&pod(vault.clone()), true), Some("vault.hashicorp.com/agent-inject"));
        assert_eq!(asks(&pod(vault), false), None);
        for answered in [
            json!({}),
            json!({ "holdfast.dev/inject": "false" }),
            json!({ "holdfast.dev/inject": "true", "holdfast.dev/injected": "0.1.0/abc" }),
            json!({ "vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-status": "injected" }),
            json!({ "holdfast.dev/inject": "true", "kubernetes.io/config.mirror": "x" }),
        ] {
            assert_eq!(asks(&pod(answered.clone()), true), None, "{answered}");
        }
    }
}
