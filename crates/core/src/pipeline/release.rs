//! The release step: what an answer shows is what every replica shows from now on.
//!
//! A replica may answer from its memory, so no answer leaves, a read's no more than a write's, before all that do so have
//! applied what it was computed from. An answer that is not released in time is given up, and what was made for it is
//! taken back: clients try again after a 503, and would have it made twice.

use std::sync::Arc;

use super::finish;
use crate::{Answer, Error, call::Reply, open::Open};

/// Bytes counted for an answer whose size is not known before it is written.
const USUAL: usize = 2 * 1024;

/// Waits until the answer may leave.
pub async fn release(open: &Arc<Open>, outcome: Result<Box<Reply>, Error>) -> Result<Box<Reply>, Error> {
    let bytes = size(&outcome);
    match holdfast_barrier::release(bytes).await {
        Ok(()) => outcome,
        Err(error) => {
            if let Ok(reply) = outcome {
                finish::undo(open, reply.made).await;
            }
            Err(error.into())
        }
    }
}

/// The same for an answer for which nothing was made.
pub async fn bare(answer: Answer) -> Answer {
    match holdfast_barrier::release(USUAL).await {
        Ok(()) => answer,
        Err(error) => Answer::Error(error.into()),
    }
}

fn size(outcome: &Result<Box<Reply>, Error>) -> usize {
    let Ok(reply) = outcome else { return USUAL };
    let raw = reply.response.raw.as_ref().map_or(0, |raw| raw.body.len());
    USUAL + raw + reply.verbatim.as_ref().map_or(0, |(_, body)| body.len())
}
