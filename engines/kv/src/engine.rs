//! The mount itself: version 1 or 2, which `tune` may change from 1 to 2 while it serves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use holdfast_logical::{Backend, Error, MountInfo, PathTable, Request, Response, Services};

use crate::{v1, v2};

/// A kv mount. Both versions stand on the same storage; what version 1 left is taken over by version 2 as it is met.
pub(crate) struct Kv {
    versioned: AtomicBool,
    plain: v1::Plain,
    versions: v2::Versioned,
}

impl Kv {
    pub fn new(mount: Arc<MountInfo>, services: Services) -> Result<Self, Error> {
        let versioned = AtomicBool::new(is_versioned(&mount)?);
        Ok(Self { versioned, plain: v1::Plain::new(mount, &services), versions: v2::Versioned::new(services) })
    }

    /// Which version a request was routed to. A request that came in before an upgrade is served as it was routed.
    fn of(&self, request: &Request) -> &dyn Backend {
        if request.route == v1::ROUTE { &self.plain } else { &self.versions }
    }
}

fn is_versioned(mount: &MountInfo) -> Result<bool, Error> {
    match mount.options.get("version").map(String::as_str) {
        None | Some("" | "1") => Ok(false),
        Some("2") => Ok(true),
        Some(other) => Err(Error::Invalid(format!("unsupported kv version {other:?}: use 1 or 2"))),
    }
}

#[async_trait]
impl Backend for Kv {
    fn paths(&self) -> &'static PathTable {
        if self.versioned.load(Ordering::SeqCst) { self.versions.paths() } else { self.plain.paths() }
    }

    // As the macro writes it, but for the future: it is that of the version, not one around it.
    fn handle<'s, 'f>(&'s self, request: Request) -> BoxFuture<'f, Result<Response, Error>>
    where
        's: 'f,
        Self: 'f,
    {
        self.of(&request).handle(request)
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        self.of(request).exists(request).await
    }

    async fn tick(&self) -> Result<(), Error> {
        if self.versioned.load(Ordering::SeqCst) { self.versions.tick().await } else { Ok(()) }
    }

    async fn tuned(&self, mount: Arc<MountInfo>) {
        if let Ok(versioned) = is_versioned(&mount) {
            self.versioned.store(versioned, Ordering::SeqCst);
        }
        self.plain.tuned(mount).await;
    }
}
