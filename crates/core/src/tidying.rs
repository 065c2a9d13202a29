//! Repairs that run in the background, one of a kind at a time on a replica.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use holdfast_logical::Response;
use parking_lot::Mutex;

use crate::{Error, call::Reply};

/// What runs now.
#[derive(Clone, Default)]
pub struct Tidying(Arc<Mutex<BTreeSet<&'static str>>>);

impl Tidying {
    /// Starts the work unless it runs already; its outcome goes to the log. 202 with a warning either way, as in Vault.
    pub fn start(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<String, Error>> + Send + 'static,
    ) -> Reply {
        let accepted = Response { status: Some(202), ..Response::empty() };
        if !self.0.lock().insert(what) {
            return accepted.warn("Tidy operation already in progress.").into();
        }
        let running = self.clone();
        tokio::spawn(async move {
            let _ended = Ended(running, what);
            match work.await {
                Ok(done) => tracing::info!(what, done, "tidy finished"),
                Err(error) => tracing::warn!(what, %error, "tidy failed"),
            }
        });
        accepted
            .warn("Tidy operation successfully started. Any information from the operation will be printed to the server's logs.")
            .into()
    }
}

/// Takes the work off the list, also when it panics.
struct Ended(Tidying, &'static str);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.0.lock().remove(self.1);
    }
}
