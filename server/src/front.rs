//! What the listeners serve: the core, and the process's metrics.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use holdfast_core::{Answer, Core, Cors, Greeting, Raw, Verb};
use holdfast_http::Handle;

use crate::metrics::Metrics;

/// Core and metrics.
pub struct Front {
    /// Answers requests.
    pub core: Arc<Core>,
    /// Of the process.
    pub metrics: Arc<Metrics>,
}

impl Handle for Front {
    fn greet<'a>(&'a self, raw: &'a Raw) -> BoxFuture<'a, Greeting> {
        self.core.greet(raw).boxed()
    }

    fn cors(&self) -> Option<Cors> {
        self.core.cors()
    }

    fn handle(&self, raw: Box<Raw>) -> BoxFuture<'_, Answer> {
        self.core.handle(raw).boxed()
    }

    fn stands_still(&self) -> BoxFuture<'_, ()> {
        self.core.config().barrier.writes_stand_still().boxed()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn observe(&self, verb: Option<Verb>, status: u16, took: Duration) {
        self.metrics.answered(verb, status, took);
    }
}
