//! What one request has made sure of already, and what it has seen.
//!
//! A read must show what was answered before its *request* came, so a request asks once, and its further reads wait for
//! nothing but that and its own writes. Work outside a request asks for each read.
//!
//! The highest revision that anything in an answer was computed from is kept here until [`release`], the one place where
//! an answer waits for other replicas. Work outside a request waits with each read and write.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::gate::Gate;
use crate::view::{Revision, StoreError};

tokio::task_local! {
    static REQUEST: Request;
}

#[derive(Default)]
struct Request {
    moment: Cell<Option<Moment>>,
    seen: RefCell<Option<(Arc<Gate>, Revision)>>,
}

#[derive(Clone, Copy)]
struct Moment {
    /// Of the session that was asked; it changes when the store is read anew.
    epoch: u64,
    /// What reads must show at least.
    revision: Revision,
}

/// Runs the work of one request. Tasks that it spawns are not part of it.
pub fn one_request<F: Future>(work: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(Request::default(), work)
}

/// What the reads of the current request must show, if it has asked.
pub(super) fn known(epoch: u64) -> Option<Revision> {
    let moment = REQUEST.try_with(|request| request.moment.get()).ok().flatten();
    moment.filter(|moment| moment.epoch == epoch).map(|moment| moment.revision)
}

/// The current request has asked, or has written: its reads must show this.
pub(super) fn learn(epoch: u64, revision: Revision) {
    set(Some(Moment { epoch, revision: known(epoch).map_or(revision, |known| known.max(revision)) }));
}

/// The next read of the current request asks again: it shows what was answered before it, not only before the request.
/// For one that has waited for others, or whose compare did not hold.
pub fn look_anew() {
    set(None);
}

fn set(moment: Option<Moment>) {
    // Outside a request nothing is kept.
    let _ = REQUEST.try_with(|request| request.moment.set(moment));
}

/// The current request has seen this revision, and must not be answered before `gate` lets it. `false`: this is no request.
pub(super) fn see(gate: &Arc<Gate>, revision: Revision) -> bool {
    REQUEST
        .try_with(|request| {
            let mut seen = request.seen.borrow_mut();
            match &mut *seen {
                Some((known, highest)) if Arc::ptr_eq(known, gate) => *highest = (*highest).max(revision),
                // Sealed and opened again meanwhile: the new one knows nothing of the old one's revisions but their order.
                _ => *seen = Some((gate.clone(), seen.as_ref().map_or(revision, |(_, before)| revision.max(*before)))),
            }
        })
        .is_ok()
}

/// The highest revision that the current request has seen. `None`: this is no request.
pub(super) fn seen() -> Option<Revision> {
    REQUEST.try_with(|request| request.seen.borrow().as_ref().map_or(0, |(_, revision)| *revision)).ok()
}

/// Waits until whatever the current request has read, found missing, met or written may be shown: until every replica that
/// reads from its memory has it. About so many bytes wait meanwhile.
/// [`StoreError::Unavailable`]: not in time, or too many wait; then nothing of it may leave.
pub async fn release(bytes: usize) -> Result<(), StoreError> {
    let seen = REQUEST.try_with(|request| request.seen.borrow().clone()).ok().flatten();
    match seen {
        Some((gate, revision)) if !gate.lets(revision) => gate.pass(revision, bytes).await,
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_knows_what_it_learned_under_the_same_epoch_only() {
        learn(1, 5);
        assert_eq!(known(1), None, "outside a request");
        one_request(async {
            assert_eq!(known(1), None);
            learn(1, 5);
            learn(1, 3);
            assert_eq!((known(1), known(2)), (Some(5), None));
            look_anew();
            assert_eq!(known(1), None);
        })
        .await;
    }
}
