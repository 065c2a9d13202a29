//! A server that initialises itself: the steps of `initialize`, run as root, resumed after a crash.
//!
//! The marker `self-init` is stored in the transaction that makes the keyring and holds the number of the next step.
//! While it is there the steps are not finished, whichever replica began them. No root token is made.

use std::sync::Arc;

use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Error as Logical, StoreError};

use super::SELF_INIT;
use crate::{Answer, Core, Error, InitStep, Raw, open::Open, pipeline};

impl Core {
    /// Makes the keyring and the marker.
    pub(crate) async fn initialize_itself(&self) -> Result<(), Error> {
        self.initialize_quietly().await?;
        failpoint!("self-init.made").await;
        Ok(())
    }

    /// Runs what is left of the steps; nothing happens without the marker.
    pub(crate) async fn run_initial_steps(&self) -> Result<(), Error> {
        let (Some(open), barrier) = (self.open(), &self.config().barrier) else { return Ok(()) };
        loop {
            let Some((marker, revision)) = barrier.read_clear(SELF_INIT).await? else { return Ok(()) };
            let next: usize = std::str::from_utf8(&marker).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            let following = match self.config().initialize.get(next) {
                Some(step) => {
                    run_step(&open, step).await?;
                    failpoint!("self-init.step-done").await;
                    Some((next + 1).to_string().into_bytes())
                }
                None => None,
            };
            let done = following.is_none();
            failpoint!("self-init.before-marker").await;
            match barrier.write_clear(SELF_INIT, following, Some(Check::At(revision))).await {
                // Another replica was faster; its number counts.
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            failpoint!("self-init.marker-moved").await;
            if done {
                tracing::info!("all initialize steps are done");
            }
        }
    }
}

async fn run_step(open: &Arc<Open>, step: &InitStep) -> Result<(), Error> {
    let mut raw = Raw::new(id::uuid(open.config.entropy.as_ref()), step.verb, step.path.trim_start_matches('/'));
    raw.body.clone_from(&step.data);
    match pipeline::serve_own(open, raw).await {
        Answer::Error(error) if already_done(&error) => {
            tracing::info!(step = %step.name, path = %step.path, "initialize step was done before");
            Ok(())
        }
        Answer::Error(error) => {
            tracing::error!(step = %step.name, path = %step.path, %error, "initialize step failed");
            Err(error)
        }
        _ => {
            tracing::info!(step = %step.name, path = %step.path, "initialize step done");
            Ok(())
        }
    }
}

/// A step that ran before a crash, or on another replica, finds its mount or device in place.
fn already_done(error: &Error) -> bool {
    matches!(error, Error::Logical(Logical::Invalid(text)) if text.contains("already in use"))
}
