//! What somebody else did to the store is told to the audit devices of every replica that sees it.

use holdfast_audit::{Request, RequestEntry};
use holdfast_base::id;

use crate::{Error, open::Open};

impl Open {
    /// Writes an entry whenever stored values were changed by somebody else; until the barrier is sealed.
    pub(crate) async fn follow_violations(&self) {
        let Some(mut violations) = self.config.barrier.watch_violations() else { return };
        let mut told = 0;
        loop {
            let seen = *violations.borrow_and_update();
            if seen > told {
                self.tell_violations(seen - told).await;
                told = seen;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                changed = violations.changed() => if changed.is_err() { return }
            }
        }
    }

    async fn tell_violations(&self, count: u64) {
        let text = format!("integrity: {count} stored values were changed by somebody else; they are not served");
        // They are not served either way; the log and a metric tell of it too.
        let written = match self.audit.sync().await {
            Ok(()) => self.tell("sys/storage/integrity", &text).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            tracing::error!(%error, "a change by somebody else is not in the audit log");
        }
    }

    /// Writes an entry about the store, which nobody has asked for: a request line with this path and error.
    pub(super) async fn tell(&self, path: &str, text: &str) -> Result<(), Error> {
        let id = id::uuid(&*self.config.entropy);
        let entry = RequestEntry {
            time: self.config.clock.now(),
            request: Request {
                id: &id,
                operation: "update",
                mount_point: "sys/",
                mount_type: "system",
                mount_class: "secret",
                path,
                ..Request::default()
            },
            error: Some(text),
            ..RequestEntry::default()
        };
        self.audit.request(&entry).await
    }
}
