//! What one request has made sure of already.
//!
//! A read must show what was answered before its *request* came, so a request asks once, and its further reads wait for
//! nothing but that and its own writes. Work outside a request asks for each read.

use std::cell::Cell;

use crate::view::Revision;

tokio::task_local! {
    static MOMENT: Cell<Option<Moment>>;
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
    MOMENT.scope(Cell::new(None), work)
}

/// What the reads of the current request must show, if it has asked.
pub(super) fn known(epoch: u64) -> Option<Revision> {
    let moment = MOMENT.try_with(Cell::get).ok().flatten();
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
    let _ = MOMENT.try_with(|cell| cell.set(moment));
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
