//! The suite that every store must pass. It panics at what is wrong, and knows no store: revisions are compared with each other,
//! never with numbers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test suite; it is compiled into tests only")]

mod history;
mod reads;
mod writes;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{KeyValue, Op, Range, Revision, Storage, Txn};

/// A store to be tested: empty, and of nobody else while it is.
pub struct Subject {
    /// The store.
    pub storage: Arc<dyn Storage>,
    /// Forgets history up to and including a revision.
    pub compact: Box<dyn Fn(Revision) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// Runs every case, each on a store of its own.
///
/// # Panics
/// At the first case that fails, after its name was printed.
pub async fn run<F, Made>(make: F)
where
    F: Fn() -> Made,
    Made: Future<Output = Subject>,
{
    macro_rules! cases {
        ($($module:ident :: $case:ident),* $(,)?) => {
            $(
                println!("conformance: {}", stringify!($case));
                $module::$case(make().await).await;
            )*
        };
    }
    cases!(
        reads::an_absent_key_is_absent,
        reads::a_prefix_ends_where_it_ends,
        reads::pages_follow_each_other,
        reads::keys_are_counted,
        reads::keys_may_hold_any_byte,
        reads::large_values_come_back,
        writes::a_key_keeps_its_create_revision,
        writes::one_transaction_is_one_revision,
        writes::compares_decide,
        writes::nested_transactions_have_outcomes_of_their_own,
        writes::nested_compares_see_the_state_before,
        writes::deleting_nothing_changes_nothing,
        writes::a_key_is_written_once_in_a_transaction,
        writes::too_large_is_refused_and_nothing_is_written,
        writes::concurrent_increments_are_all_counted,
        history::the_past_can_be_read,
        history::the_future_and_the_forgotten_cannot,
        history::a_watch_tells_whole_revisions_in_order,
        history::a_watch_may_start_one_ahead,
        history::a_watch_tells_progress,
        history::a_watch_of_the_forgotten_says_so,
        history::a_watch_of_much_misses_nothing,
    );
}

async fn put(storage: &dyn Storage, key: &'static str, value: &'static str) -> Revision {
    commit(storage, vec![Op::put(key, value)]).await
}

async fn commit(storage: &dyn Storage, then: Vec<Op>) -> Revision {
    let reply = storage.txn(Txn { then, ..Txn::default() }).await.unwrap();
    assert!(reply.succeeded);
    reply.revision
}

async fn value(storage: &dyn Storage, key: &'static str) -> Option<Bytes> {
    storage.get(key.as_bytes()).await.unwrap().0.map(|item| item.value)
}

async fn keys(storage: &dyn Storage, range: Range) -> Vec<Bytes> {
    let items: Vec<KeyValue> = storage.range(range).await.unwrap().items;
    items.into_iter().map(|item| item.key).collect()
}
