//! A small part of every object of a kind, kept by a watch.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use holdfast_runtime::Shutdown;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tracing::{debug, info};

/// By namespace and name.
type Parts<V> = HashMap<(String, String), V>;

/// What is kept of a kind.
#[derive(Debug)]
pub(super) struct Mirror<V>(Arc<RwLock<Parts<V>>>);

impl<V: Clone> Mirror<V> {
    /// What is kept of an object; `None` when it is not known, or not yet.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<V> {
        self.0.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Watches until the shutdown, and keeps of each object what `part` makes of it.
    pub(super) async fn keep<K>(
        &self,
        api: Api<K>,
        part: impl Fn(&K) -> Option<V>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
    {
        let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed = HashMap::new();
        loop {
            let event = tokio::select! {
                event = events.try_next() => event,
                () = shutdown.cancelled() => return Ok(()),
            };
            match event {
                Ok(Some(watcher::Event::Init)) => listed = HashMap::new(),
                Ok(Some(watcher::Event::InitApply(object))) => {
                    listed.extend(part(&object).map(|part| (key(&object), part)));
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    info!(kind = %K::kind(&K::DynamicType::default()), objects = listed.len(), "watching");
                    *self.0.write() = std::mem::take(&mut listed);
                }
                Ok(Some(watcher::Event::Apply(object))) => match part(&object) {
                    Some(part) => drop(self.0.write().insert(key(&object), part)),
                    None => drop(self.0.write().remove(&key(&object))),
                },
                Ok(Some(watcher::Event::Delete(object))) => drop(self.0.write().remove(&key(&object))),
                Ok(None) => anyhow::bail!("a watch ended"),
                Err(error) => debug!(%error, "watch"),
            }
        }
    }
}

impl<V> Clone for Mirror<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
