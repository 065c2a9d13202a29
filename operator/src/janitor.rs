//! Takes back what belonged to pods that have ended or are gone. One whose phase is `Succeeded` or `Failed` has ended: none
//! of its containers ever runs again, and what is left of it (a Job's, perhaps for days) is there to be read.
//!
//! Promptly: a watch over the metadata of injected pods that have not ended sees a pod leave, by its end or its deletion.
//! Surely: a sweep compares the pods that the server knows with those that there are, so what nobody saw is found too.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use holdfast_crd_types::names;
use holdfast_runtime::Shutdown;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tracing::{debug, info, warn};

use crate::{
    context::Context,
    failure::{Failure, While},
};

/// Between two tries of a release that failed.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two sweeps.
const SWEEP: Duration = Duration::from_secs(30);
/// Field selectors of pods that may run (again), and of those that never will.
const LIVING: &str = "status.phase!=Succeeded,status.phase!=Failed";
const ENDED: &str = "status.phase!=Pending,status.phase!=Running,status.phase!=Unknown";

/// Pods whose release is to be done.
#[derive(Debug, Default)]
pub struct Gone {
    pods: Mutex<BTreeSet<String>>,
    /// Those that were released and that the server still knows: it takes back what they had as soon as it can.
    released: Mutex<HashSet<String>>,
    told: tokio::sync::Notify,
}

impl Gone {
    /// What a sweep has found; whether there is one among them that was not released before.
    fn add(&self, found: Vec<String>) -> bool {
        let mut released = self.released.lock();
        released.retain(|uid| found.contains(uid));
        let news = found.iter().any(|uid| !released.contains(uid));
        self.pods.lock().extend(found);
        news
    }

    fn is_first_release_of(&self, uid: &str) -> bool {
        self.released.lock().insert(uid.to_owned())
    }
}

/// Watches the injected pods of a scope, until the shutdown.
pub async fn watch(
    ctx: Arc<Context>,
    gone: Arc<Gone>,
    scope: Option<String>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let api: Api<PartialObjectMeta<Pod>> = match &scope {
        Some(namespace) => Api::namespaced(ctx.kube.clone(), namespace),
        None => Api::all(ctx.kube.clone()),
    };
    let config = watcher::Config::default().labels(&format!("{}=true", names::LABEL_INJECTED)).fields(LIVING);
    let mut events = watcher(api, config).default_backoff().boxed();
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = shutdown.cancelled() => return Ok(()),
        };
        match event {
            Ok(Some(watcher::Event::Delete(pod))) => {
                let uid = pod.uid().unwrap_or_default();
                if lives(&ctx, &pod).await {
                    info!(namespace = pod.namespace().unwrap_or_default(), pod = pod.name_any(), "pod lost its label");
                    continue;
                }
                debug!(
                    namespace = pod.namespace().unwrap_or_default(),
                    pod = pod.name_any(),
                    uid,
                    "pod has ended or is gone"
                );
                gone.pods.lock().insert(uid);
                gone.told.notify_one();
            }
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the watch over pods ended"),
            Err(error) => debug!(%error, "watch over pods"),
        }
    }
}

/// Does the pod live all the same? One that loses the label leaves the watch as if it were deleted. What cannot be found
/// out counts as gone, as the watch says.
async fn lives(ctx: &Context, pod: &PartialObjectMeta<Pod>) -> bool {
    let api: Api<Pod> = Api::namespaced(ctx.kube.clone(), &pod.namespace().unwrap_or_default());
    let only = ListParams::default().fields(&format!("metadata.name={},{LIVING}", pod.name_any()));
    let found = api.list_metadata(&only).await;
    found.is_ok_and(|found| found.items.iter().any(|found| found.uid() == pod.uid()))
}

/// Releases pods that are gone, and sweeps, until the shutdown.
pub async fn run(ctx: Arc<Context>, gone: Arc<Gone>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut next_sweep = tokio::time::Instant::now();
    loop {
        let failed = release(&ctx, &gone).await;
        if tokio::time::Instant::now() >= next_sweep {
            next_sweep = tokio::time::Instant::now() + SWEEP;
            match find(&ctx).await {
                Ok(found) => {
                    if gone.add(found) {
                        continue;
                    }
                }
                Err(failure) => debug!(%failure, "sweep over pods"),
            }
        }
        let pause = if failed { PAUSE } else { SWEEP };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gone.told.notified() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Releases what is known to be gone; did any fail?
async fn release(ctx: &Context, gone: &Gone) -> bool {
    let pods: Vec<String> = gone.pods.lock().iter().cloned().collect();
    let mut failed = false;
    for uid in pods {
        match ctx.server.delete(&format!("sys/bindings/{}", names::pod_owner(&uid))).await {
            Ok(()) => {
                gone.pods.lock().remove(&uid);
                if gone.is_first_release_of(&uid) {
                    ctx.metrics.released_pods.inc();
                    info!(pod_uid = uid, "credentials of a pod that has ended or is gone are taken back");
                }
            }
            Err(error) => {
                warn!(pod_uid = uid, %error, "credentials of a pod that has ended or is gone are not taken back yet");
                failed = true;
            }
        }
    }
    failed
}

/// Pods that the server has credentials for and that do not live.
async fn find(ctx: &Context) -> Result<Vec<String>, Failure> {
    // In this order: a pod that comes later than the first list is in the second.
    let known =
        ctx.server.list(&format!("sys/bindings/{}", names::OWNER_POD)).await.doing("listing the pods of the server")?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let scopes = ctx.settings.scopes();
    // An operator that sees a few namespaces only cannot tell which pods of the others are gone, but which of its own
    // have ended.
    let (living, selector) = if scopes == [None] { (true, LIVING) } else { (false, ENDED) };
    let mut seen = HashSet::new();
    for scope in scopes {
        seen.extend(uids(ctx, scope.as_deref(), selector).await?);
    }
    Ok(released(known, &seen, living))
}

/// Of the pods of a scope that a field selector takes.
async fn uids(ctx: &Context, scope: Option<&str>, selector: &str) -> Result<HashSet<String>, Failure> {
    let api: Api<Pod> = match scope {
        Some(namespace) => Api::namespaced(ctx.kube.clone(), namespace),
        None => Api::all(ctx.kube.clone()),
    };
    let (mut uids, mut page) = (HashSet::new(), ListParams::default().fields(selector).limit(500));
    loop {
        let list = api.list_metadata(&page).await.doing("listing pods")?;
        uids.extend(list.items.iter().filter_map(ResourceExt::uid));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(uids),
        }
    }
}

/// Which of the server's pods to release: all but those that live, or those that have ended.
fn released(known: Vec<String>, seen: &HashSet<String>, living: bool) -> Vec<String> {
    known
        .into_iter()
        .map(|uid| uid.trim_end_matches('/').to_owned())
        .filter(|uid| !uid.is_empty() && seen.contains(uid) != living)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_the_server_goes_on_to_know_is_told_of_once() {
        let gone = Gone::default();
        let found = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<Vec<_>>();
        assert!(gone.add(found(&["a", "b"])));
        assert!(gone.is_first_release_of("a") && gone.is_first_release_of("b"));
        assert!(!gone.add(found(&["a"])), "its database is away, say");
        assert!(!gone.is_first_release_of("a"));
        assert!(gone.add(found(&["a", "b"])), "this one has come back meanwhile");
        assert!(gone.is_first_release_of("b"));
    }

    #[test]
    fn only_pods_that_do_not_live_are_released() {
        let seen = HashSet::from(["a".to_owned()]);
        let known = || ["a/", "b", "c/", ""].map(str::to_owned).to_vec();
        assert_eq!(released(known(), &seen, true), ["b", "c"]);
        assert_eq!(released(known(), &seen, false), ["a"]);
    }
}
