//! What is the same for all kinds: finalizer first, then the work, then the status; failures where the user looks;
//! deletion that cannot wedge.
//!
//! Read [`reconcile`] top-down: it is the life of every object.

use std::{
    fmt::Debug,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_crd_types::{
    conditions::{self, Update},
    names,
};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        controller::Action,
        events::{Event, EventType},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::{debug, info, warn};

use crate::{
    backoff::{KEEN, PATIENT},
    context::Context,
    failure::{Failure, Remedy, While},
    ledger::Entry,
    metrics::Outcome,
};

/// For one reconciliation: a deletion that comes meanwhile waits for it.
const APPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// For one attempt of a deletion, and for the last one.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(8);
const LAST_CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts of a deletion.
const CLEANUP_PAUSE: Duration = Duration::from_secs(2);

/// A kind that the operator reconciles.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Default + Clone + PartialEq + Serialize + Send + Sync;
    /// Its name, for metrics and logs.
    const KIND: &'static str;

    /// The status as it is stored.
    fn status(&self) -> Self::Status;
    /// The conditions in a status.
    fn conditions(status: &Self::Status) -> &[Condition];
    /// Puts conditions and generation into a status.
    fn observe(status: &mut Self::Status, conditions: Vec<Condition>, generation: Option<i64>);
    /// Makes the server as the object says. Called again and again; does nothing when nothing is to do.
    fn apply(work: &mut Work<'_, Self>) -> impl Future<Output = Result<Settled, Failure>> + Send;
    /// Takes back what `apply` made. Must not need any other object of the namespace: they may be gone.
    fn cleanup(ctx: &Context, object: &Self) -> impl Future<Output = Result<(), Failure>> + Send;
    /// What to remember when `cleanup` cannot be done in time; `None` when nothing is to be taken back.
    fn pending(ctx: &Context, object: &Self) -> Option<Entry>;
}

/// An object is as it should be.
#[derive(Debug)]
pub struct Settled {
    /// Reason of the condition Ready.
    pub reason: &'static str,
    /// Message of the condition Ready.
    pub message: String,
    /// When to look again; `None` for the usual time.
    pub again: Option<Duration>,
}

/// One reconciliation of one object.
pub struct Work<'a, K: Managed> {
    /// The shared things.
    pub ctx: &'a Context,
    /// The object as it was when the reconciliation began.
    pub object: Arc<K>,
    /// The status that will be written.
    pub status: K::Status,
    /// Conditions beside Ready.
    pub updates: Vec<Update>,
    saved: K::Status,
}

/// The life of an object. Failures are not answered but written into the object's status, and tried again.
pub async fn reconcile<K: Managed>(object: Arc<K>, ctx: Arc<Context>) -> Result<Action, std::convert::Infallible> {
    let uid = object.uid().unwrap_or_default();
    let fingerprint = fingerprint(object.as_ref());
    if let Some(left) = ctx.backoff.wait(&uid, &fingerprint, Instant::now()) {
        return Ok(Action::requeue(left));
    }
    let outcome = if object.meta().deletion_timestamp.is_some() {
        delete(&ctx, &object).await
    } else if object.annotations().get(names::ANNOTATION_PAUSE).is_some_and(|value| value == "true") {
        Ok(Action::await_change())
    } else {
        keep(&ctx, object.clone()).await
    };
    let word = outcome.as_ref().err().map_or("ok", |failure| failure.reason);
    ctx.metrics.reconciles.get_or_create(&Outcome { kind: K::KIND, outcome: word }).inc();
    match outcome {
        Ok(action) => {
            ctx.backoff.succeeded(&uid);
            Ok(action)
        }
        Err(failure) => {
            let longest = if failure.remedy == Remedy::Wait { KEEN } else { PATIENT };
            let pause = ctx.backoff.failed(&uid, &fingerprint, longest, ctx.jitter(), Instant::now());
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            debug!(kind = K::KIND, namespace, name, reason = failure.reason, %failure, ?pause, "not ready");
            Ok(Action::requeue(pause))
        }
    }
}

/// What a user can change about an object: a change of it ends every pause.
fn fingerprint<K: Resource>(object: &K) -> String {
    let meta = object.meta();
    let annotation = |name| object.annotations().get(name).map_or("", String::as_str);
    format!(
        "{:?} {} {:?} {:?}",
        meta.generation,
        meta.deletion_timestamp.is_some(),
        annotation(names::ANNOTATION_ROTATE),
        annotation(names::ANNOTATION_PAUSE)
    )
}

// === living ===

async fn keep<K: Managed>(ctx: &Context, object: Arc<K>) -> Result<Action, Failure> {
    // Before the first side effect: whatever happens from here on, the object cannot vanish without its cleanup.
    let object = if object.finalizers().iter().any(|name| name == names::FINALIZER) {
        object
    } else {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(names::FINALIZER.to_owned());
        Arc::new(set_finalizers(ctx, object.as_ref(), &finalizers).await.doing("adding the finalizer")?)
    };
    let before = object.status();
    let mut work = Work { ctx, object, status: before.clone(), updates: Vec::new(), saved: before };
    let outcome = tokio::time::timeout(APPLY_TIMEOUT, K::apply(&mut work)).await;
    match outcome.unwrap_or_else(|_| Err(silent(ctx, APPLY_TIMEOUT))) {
        Ok(settled) => {
            if !work.updates.iter().any(|update| update.kind == conditions::DRIFTED) {
                work.updates.push(Update::new(conditions::DRIFTED, false, "InSync", ""));
            }
            let ready = Update::new(conditions::READY, true, settled.reason, settled.message);
            work.finish(ready, None).await?;
            Ok(Action::requeue(settled.again.unwrap_or_else(|| ctx.resync())))
        }
        Err(failure) => {
            work.fail(&failure).await?;
            Err(failure)
        }
    }
}

impl<K: Managed> Work<'_, K> {
    /// Namespace of the object.
    pub fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// Writes the status as it is now: for what must be known before the next step.
    pub async fn save(&mut self) -> Result<(), Failure> {
        if self.status == self.saved {
            return Ok(());
        }
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": self.object.name_any() },
            "status": self.status,
        });
        let api: Api<K> = Api::namespaced(self.ctx.kube.clone(), &self.namespace());
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        api.patch_status(&self.object.name_any(), &params, &Patch::Apply(&body)).await.doing("writing the status")?;
        self.saved = self.status.clone();
        Ok(())
    }

    /// Tells the user what was done.
    pub async fn event(&self, reason: &str, note: String) {
        publish(self.ctx, self.object.as_ref(), EventType::Normal, reason, note).await;
    }

    /// Tells the user what went wrong.
    pub async fn warn(&self, reason: &str, note: String) {
        publish(self.ctx, self.object.as_ref(), EventType::Warning, reason, note).await;
    }

    /// Says that something was found different and has been put right.
    pub async fn repaired(&mut self, what: String) {
        warn!(kind = K::KIND, namespace = self.namespace(), name = self.object.name_any(), what, "drift repaired");
        self.warn("DriftRepaired", what.clone()).await;
        self.updates.retain(|update| update.kind != conditions::DRIFTED);
        self.updates.push(Update::new(conditions::DRIFTED, true, "Repaired", what));
    }

    async fn finish(&mut self, ready: Update, progress: Option<Update>) -> Result<(), Failure> {
        let generation = self.object.meta().generation;
        let mut updates = std::mem::take(&mut self.updates);
        updates.push(ready);
        updates.extend(progress);
        let old = K::conditions(&self.status).to_vec();
        let mut merged = conditions::merge(&old, &updates, generation, self.ctx.clock.now());
        // These two say what goes on; when nothing does they are absent, as kstatus wants it.
        let named = |kind: &str| updates.iter().any(|update| update.kind == kind);
        merged.retain(|condition| {
            ![conditions::RECONCILING, conditions::STALLED].contains(&condition.type_.as_str())
                || named(&condition.type_)
        });
        K::observe(&mut self.status, merged, generation);
        self.save().await
    }

    async fn fail(&mut self, failure: &Failure) -> Result<(), Failure> {
        let old = K::conditions(&self.status).to_vec();
        let before = old.iter().find(|condition| condition.type_ == conditions::READY);
        let current = before.filter(|ready| ready.observed_generation == self.object.meta().generation);
        let was_ready = current.is_some_and(|ready| ready.status == "True");
        let say = |kind, status| Update::new(kind, status, failure.reason, failure.message.as_str());
        let (ready, progress) = match failure.remedy {
            // What was ready stays so: the server being away changes nothing about the object.
            Remedy::Wait if was_ready => {
                let ready =
                    current.map(|ready| Update::new(conditions::READY, true, &ready.reason, ready.message.as_str()));
                (ready.unwrap_or_else(|| say(conditions::READY, false)), Some(say(conditions::RECONCILING, true)))
            }
            Remedy::Wait | Remedy::Soon | Remedy::Elsewhere => {
                (say(conditions::READY, false), Some(say(conditions::RECONCILING, true)))
            }
            Remedy::Edit => (say(conditions::READY, false), Some(say(conditions::STALLED, true))),
        };
        let said =
            old.iter().any(|condition| condition.reason == failure.reason && condition.message == failure.message);
        if !said && failure.remedy != Remedy::Soon {
            self.warn(failure.reason, failure.message.clone()).await;
            let (namespace, name) = (self.namespace(), self.object.name_any());
            info!(kind = K::KIND, namespace, name, reason = failure.reason, %failure, "not ready");
        }
        self.finish(ready, progress).await
    }
}

// === dying ===

async fn delete<K: Managed>(ctx: &Context, object: &Arc<K>) -> Result<Action, Failure> {
    if !object.finalizers().iter().any(|name| name == names::FINALIZER) {
        return Ok(Action::await_change());
    }
    let uid = object.uid().unwrap_or_default();
    let began = ctx.deletion_began(&uid);
    let stamp = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
    let age = || {
        let age = stamp.and_then(|time| Duration::try_from(ctx.clock.now().duration_since(time)).ok());
        began.elapsed().max(age.unwrap_or_default())
    };
    let limit = if age() < ctx.settings.deletion() { CLEANUP_TIMEOUT } else { LAST_CLEANUP_TIMEOUT };
    let outcome = tokio::time::timeout(limit, K::cleanup(ctx, object)).await;
    if let Err(failure) = outcome.unwrap_or_else(|_| Err(silent(ctx, limit))) {
        if age() < ctx.settings.deletion() {
            debug!(kind = K::KIND, %failure, "deletion is tried again");
            return Ok(Action::requeue(CLEANUP_PAUSE));
        }
        if let Some(entry) = K::pending(ctx, object) {
            ctx.ledger.add(entry).await.doing("writing the pending revocation")?;
            let note = format!("{failure}; the object may go, the revocation stays in the ledger until it is done");
            publish(ctx, object.as_ref(), EventType::Warning, "RevocationPending", note).await;
        }
    }
    let rest: Vec<String> = object.finalizers().iter().filter(|name| *name != names::FINALIZER).cloned().collect();
    match set_finalizers(ctx, object.as_ref(), &rest).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(Failure::kubernetes("removing the finalizer", &error)),
    }
    ctx.deletion_ended(&uid);
    info!(kind = K::KIND, namespace = object.namespace().unwrap_or_default(), name = object.name_any(), "deleted");
    Ok(Action::await_change())
}

fn silent(ctx: &Context, limit: Duration) -> Failure {
    Failure {
        reason: "ServerUnreachable",
        message: format!("no answer from {} within {limit:?}", ctx.server.address()),
        remedy: Remedy::Wait,
    }
}

/// Replaces the finalizers if the object is still the version that we know.
async fn set_finalizers<K: Managed>(ctx: &Context, object: &K, finalizers: &[String]) -> Result<K, kube::Error> {
    let api: Api<K> = Api::namespaced(ctx.kube.clone(), &object.namespace().unwrap_or_default());
    let body = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers } });
    let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&object.name_any(), &params, &Patch::Merge(&body)).await
}

/// Best effort: a namespace that is being deleted takes no events.
pub async fn publish<K: Managed>(ctx: &Context, object: &K, kind: EventType, reason: &str, note: String) {
    let mut note = note;
    if note.len() > 1000 {
        let end = (0..=1000).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
        note.truncate(end);
    }
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        debug!(%error, reason, "event not written");
    }
}
