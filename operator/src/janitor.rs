//! Takes back what belonged to pods that are gone.
//!
//! Promptly: a watch over the metadata of injected pods sees the deletion. Surely: a sweep compares the pods that the
//! server knows with those that there are, so a deletion that nobody saw is found too.

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

/// Pods whose release is to be done.
#[derive(Debug, Default)]
pub struct Gone {
    pods: Mutex<BTreeSet<String>>,
    told: tokio::sync::Notify,
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
    let config = watcher::Config::default().labels(&format!("{}=true", names::LABEL_INJECTED));
    let mut events = watcher(api, config).default_backoff().boxed();
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = shutdown.cancelled() => return Ok(()),
        };
        match event {
            Ok(Some(watcher::Event::Delete(pod))) => {
                let uid = pod.uid().unwrap_or_default();
                if is_there(&ctx, &pod).await {
                    info!(namespace = pod.namespace().unwrap_or_default(), pod = pod.name_any(), "pod lost its label");
                    continue;
                }
                debug!(namespace = pod.namespace().unwrap_or_default(), pod = pod.name_any(), uid, "pod is gone");
                gone.pods.lock().insert(uid);
                gone.told.notify_one();
            }
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the watch over pods ended"),
            Err(error) => debug!(%error, "watch over pods"),
        }
    }
}

/// Is the pod there all the same? One that loses the label leaves the watch as if it were deleted. What cannot be found
/// out counts as gone, as the watch says.
async fn is_there(ctx: &Context, pod: &PartialObjectMeta<Pod>) -> bool {
    let api: Api<Pod> = Api::namespaced(ctx.kube.clone(), &pod.namespace().unwrap_or_default());
    let found = api.get_metadata_opt(&pod.name_any()).await;
    found.is_ok_and(|found| found.is_some_and(|found| found.uid() == pod.uid()))
}

/// Releases pods that are gone, and sweeps, until the shutdown.
pub async fn run(ctx: Arc<Context>, gone: Arc<Gone>, shutdown: Shutdown) -> anyhow::Result<()> {
    // An operator that sees a few namespaces only cannot tell which pods of the others are gone.
    let sweeps = ctx.settings.scopes() == [None];
    let mut next_sweep = tokio::time::Instant::now();
    loop {
        let failed = release(&ctx, &gone).await;
        if sweeps && tokio::time::Instant::now() >= next_sweep {
            next_sweep = tokio::time::Instant::now() + SWEEP;
            match find(&ctx).await {
                Ok(found) => {
                    let some = !found.is_empty();
                    gone.pods.lock().extend(found);
                    if some {
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
                ctx.metrics.released_pods.inc();
                info!(pod_uid = uid, "credentials of a pod that is gone are taken back");
            }
            Err(error) => {
                warn!(pod_uid = uid, %error, "credentials of a pod that is gone are not taken back yet");
                failed = true;
            }
        }
    }
    failed
}

/// Pods that the server has credentials for and that are not there.
async fn find(ctx: &Context) -> Result<Vec<String>, Failure> {
    // In this order: a pod that comes later than the first list is in the second.
    let known =
        ctx.server.list(&format!("sys/bindings/{}", names::OWNER_POD)).await.doing("listing the pods of the server")?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let api: Api<Pod> = Api::all(ctx.kube.clone());
    let mut living = HashSet::new();
    let mut page = ListParams::default().limit(500);
    loop {
        let list = api.list_metadata(&page).await.doing("listing pods")?;
        living.extend(list.items.iter().filter_map(ResourceExt::uid));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(absent(known, &living)),
        }
    }
}

fn absent(known: Vec<String>, living: &HashSet<String>) -> Vec<String> {
    known
        .into_iter()
        .map(|uid| uid.trim_end_matches('/').to_owned())
        .filter(|uid| !uid.is_empty() && !living.contains(uid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_that_are_not_there_are_released() {
        let living = HashSet::from(["a".to_owned()]);
        let known = ["a/", "b", "c/", ""].map(str::to_owned).to_vec();
        assert_eq!(absent(known, &living), ["b", "c"]);
    }
}
