//! The release step: what an answer shows is what every replica shows from now on.
//!
//! A replica may answer from its memory, so no answer leaves, a read's no more than a write's, before all that do so have
//! applied what it was computed from. An answer that is not released in time is given up, and so is one for a caller who
//! has gone or was told that the outcome is not known. What was made for it is taken back: clients try again after a
//! 503, and would have it made twice.

use std::sync::Arc;

use holdfast_logical::Error as Logical;

use super::{finish, parse::Parsed};
use crate::{Answer, Error, call::Reply, open::Open, unbroken::is_given_up};

/// Bytes counted for an answer whose size is not known before it is written.
const USUAL: usize = 2 * 1024;

/// Why what was made is taken back when its caller has gone.
const NOBODY: &str = "nobody waits for the answer any more";

/// Is it nothing but that nobody waits?
pub fn is_for_nobody(error: &Error) -> bool {
    matches!(error, Error::Logical(Logical::Unavailable(text)) if text == NOBODY)
}

/// Waits until the answer may leave.
pub async fn release(
    open: &Arc<Open>,
    parsed: &Parsed,
    outcome: Result<Box<Reply>, Error>,
) -> Result<Box<Reply>, Error> {
    let error = match holdfast_barrier::release(size(&outcome)).await {
        Ok(()) if !for_nobody(parsed, &outcome) => return outcome,
        Ok(()) => Logical::Unavailable(NOBODY.to_owned()).into(),
        Err(error) => error.into(),
    };
    if let Ok(reply) = outcome {
        Box::pin(finish::undo(open, reply.made)).await;
    }
    Err(error)
}

/// Whether the answer holds what only it could tell, and goes nowhere. What was made for an item is found by who tries again.
fn for_nobody(parsed: &Parsed, outcome: &Result<Box<Reply>, Error>) -> bool {
    let Ok(reply) = outcome else { return false };
    let made = !reply.made.tokens.is_empty() || (reply.made.lease.is_some() && parsed.raw.item.is_none());
    made && is_given_up()
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
