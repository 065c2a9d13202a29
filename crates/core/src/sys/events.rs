//! `sys/events/subscribe`: the listener turns what is answered here into a WebSocket.

use holdfast_logical::{Auth, Field, Kind, Operation, PathTable, Row};

use crate::{
    Error,
    call::{Call, Reply},
    events::{Filter, Subscription, Wish},
};

pub const ROWS: &PathTable = &[Row {
    id: "events/subscribe",
    pattern: "events/subscribe/*event_type",
    operations: &[Operation::Read],
    fields: &[
        Field::new("event_type", Kind::String, "Type of the events: kv-v2/data-write; * stands for any text."),
        Field::new("json", Kind::Bool, "Must be true: events are sent as JSON."),
        Field::new(
            "namespaces",
            Kind::StringList,
            "Namespaces below that of the request whose events are sent too; globs.",
        ),
        Field::new(
            "filter",
            Kind::String,
            "Expression over event_type, operation, namespace, source_plugin_mount and data_path.",
        ),
    ],
    auth: Auth::Token,
    help: "A WebSocket on which events arrive while it is open.",
}];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let fields = &call.request.fields;
    let kind = fields.string("event_type").unwrap_or_default().trim().to_owned();
    if kind.is_empty() {
        return Err(Error::invalid("did not specify eventType to subscribe to"));
    }
    if fields.bool("json") != Some(true) {
        return Err(Error::invalid("field \"json\": only json=true is served"));
    }
    let filter = fields.string("filter").filter(|text| !text.is_empty());
    let wish = Wish {
        namespace: call.request.mount.namespace.clone(),
        kind,
        namespaces: fields.list("namespaces").unwrap_or_default(),
        filter: filter.map(Filter::parse).transpose()?,
        token: call.holder()?.id.duplicate(),
    };
    let events = Some(Box::new(Subscription::new(call.open.clone(), wish).await?));
    Ok(Reply { events, ..Reply::default() })
}
