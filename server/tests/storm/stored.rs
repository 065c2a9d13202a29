//! Leases that end weeks from now, put into the store in the form that `crates/core/src/lease` gives them.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use holdfast_base::{Clock, Timestamp};
use holdfast_core::Core;
use holdfast_logical::{Txn, View};
use serde_json::json;

/// They end between these two.
const FIRST: Duration = Duration::from_secs(2 * 24 * 3600);
const LAST: Duration = Duration::from_secs(32 * 24 * 3600);

/// In one transaction, with three keys each.
const AT_ONCE: usize = 40;

/// The id of one of them.
pub fn id(number: usize) -> String {
    format!("storm/creds/far{}/{number:024}", number % 100)
}

/// Stores so many.
pub async fn preload(core: &Arc<Core>, clock: &dyn Clock, mount_uuid: &str, wanted: usize) {
    let view = &View::new(core.config().barrier.clone(), "lease/");
    let now = clock.now();
    let step = (LAST - FIRST) / u32::try_from(wanted.max(1)).unwrap();
    let pieces = (0..wanted).step_by(AT_ONCE).map(|first| async move {
        let mut txn = Txn::new();
        for number in first..wanted.min(first + AT_ONCE) {
            let end = now.checked_add(FIRST + step * u32::try_from(number).unwrap()).unwrap();
            put(view, &mut txn, mount_uuid, number, now, end);
        }
        view.commit(txn).await.unwrap();
    });
    futures::stream::iter(pieces).buffer_unordered(32).collect::<()>().await;
}

fn put(view: &View, txn: &mut Txn, mount_uuid: &str, number: usize, now: Timestamp, end: Timestamp) {
    let (id, token) = (id(number), format!("far{}", number / 10));
    let record = json!({
        "id": id, "mount_uuid": mount_uuid, "internal": {"name": format!("far{number}")}, "issue_time": now,
        "expire_time": end, "renewable": true, "token_hash": token, "due": end,
    });
    let (minute, name) = (end.as_second() / 60, id.replace('/', "\u{1f}"));
    txn.put_json(view.path(&format!("id/{id}")), &record).unwrap();
    txn.put_json(view.path(&format!("due/{minute:010}/{:014}-l{name}", end.as_millisecond())), &json!({"lease": id}))
        .unwrap();
    txn.put_json(view.path(&format!("token/{token}/{number:024}")), &id).unwrap();
}
