//! `sys/audit` and `sys/audit-hash`.

use holdfast_audit::{Request, RequestEntry};
use holdfast_logical::{
    Auth, Data, Field, Kind,
    Operation::{Delete, Read, Update},
    PathTable, Response,
};
use serde_json::json;

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
};

pub const ROWS: &PathTable = &[
    row("audit", &[Read], &[], Auth::Sudo, "The audit devices."),
    row(
        "audit/:path",
        &[Update, Delete],
        &[
            Field::new("type", Kind::String, "file."),
            Field::new("description", Kind::String, "For people."),
            Field::new("options", Kind::StringMap, "file_path and others."),
            Field::new("local", Kind::Bool, "Kept and shown."),
        ],
        Auth::Sudo,
        "Enables or disables an audit device.",
    ),
    row(
        "audit-hash/:path",
        &[Update],
        &[Field::sensitive("input", Kind::String, "Text to hash.")],
        Auth::Token,
        "The hash that a device writes for a text.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (audit, fields) = (&call.open.audit, &call.request.fields);
    let path = fields.string("path").unwrap_or_default();
    match (call.request.route, call.request.operation) {
        ("audit", _) => Ok(Response::data(Data::from(audit.show())).into()),
        ("audit-hash/:path", _) => {
            let hash = audit.hash(path, fields.required("input")?);
            let hash = hash.ok_or_else(|| Error::invalid(format!("unknown audit backend: {path:?}")))?;
            Ok(Response::data(json!({ "hash": hash })).into())
        }
        (_, Delete) => {
            audit.disable(path).await?;
            Ok(Reply::default())
        }
        _ => {
            let full = call.full_path();
            let test = RequestEntry {
                time: call.open.config.clock.now(),
                request: Request { id: &call.request.id, operation: "update", path: &full, ..Request::default() },
                ..RequestEntry::default()
            };
            audit
                .enable(
                    path,
                    fields.required("type")?,
                    fields.string("description").unwrap_or_default(),
                    fields.string_map("options").unwrap_or_default(),
                    fields.bool("local").unwrap_or(false),
                    &test,
                )
                .await?;
            Ok(Reply::default())
        }
    }
}
