//! `sys/audit`, `sys/audit-hash`, `sys/audit-chain` and `sys/config/auditing`.

use holdfast_audit::{Request, RequestEntry};
use holdfast_logical::{
    Auth, Data, Field, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable, Response,
};
use serde_json::{Map, json};

use super::row;
use crate::{
    Error,
    audit::{ChainQuestion, NewDevice},
    call::{Call, Reply},
};

pub const ROWS: &PathTable = &[
    row("audit", &[Read], &[], Auth::Sudo, "The audit devices."),
    row(
        "audit/*path",
        &[Update, Delete],
        &[
            Field::new("type", Kind::String, "file, socket or syslog."),
            Field::new("description", Kind::String, "For people."),
            Field::new("options", Kind::StringMap, "file_path, address and others."),
            Field::new("local", Kind::Bool, "Kept and shown."),
        ],
        Auth::Sudo,
        "Enables or disables an audit device.",
    ),
    row(
        "audit-hash/*path",
        &[Update],
        &[Field::sensitive("input", Kind::String, "Text to hash.")],
        Auth::Token,
        "The hash that a device writes for a text.",
    ),
    row("audit-chain", &[Read], &[], Auth::Sudo, "Public key and stored ends of the audit chains."),
    row(
        "audit-chain/check",
        &[Update],
        &[
            Field::new("node", Kind::String, "Replica that wrote the lines."),
            Field::new("device", Kind::String, "Device that wrote the lines."),
            Field::new("epoch", Kind::String, "Epoch of the lines."),
            Field::new("seqs", Kind::String, "Numbers of the lines, going up, separated by commas."),
            Field::new("digests", Kind::String, "SHA-256 of what each MAC is about, hexadecimal, one after the other."),
            Field::new("macs", Kind::String, "The MACs, hexadecimal, one after the other."),
        ],
        Auth::Sudo,
        "Which lines of an audit log have a MAC that this server did not make?",
    ),
    row(
        "config/auditing/request-headers",
        &[Read, List],
        &[],
        Auth::Sudo,
        "Request headers that are written to the audit log.",
    ),
    row(
        "config/auditing/request-headers/:header",
        &[Read, Update, Delete],
        &[Field::new("hmac", Kind::Bool, "Write a hash instead of the value.")],
        Auth::Sudo,
        "A request header that is written to the audit log.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (audit, fields) = (&call.open.audit, &call.request.fields);
    let path = fields.string("path").unwrap_or_default();
    match (call.request.route, call.request.operation) {
        ("audit", _) => Ok(Response::data(Data::from(audit.show())).into()),
        ("audit-hash/*path", _) => {
            let hash = audit.hash(path, fields.required("input")?);
            let hash = hash.ok_or_else(|| Error::invalid(format!("unknown audit backend: {path:?}")))?;
            Ok(Response::data(json!({ "hash": hash })).into())
        }
        ("audit-chain", _) => Ok(Response::data(Data::from(audit.proof().await?)).into()),
        ("audit-chain/check", _) => {
            let question = ChainQuestion {
                node: fields.required("node")?,
                device: fields.required("device")?,
                epoch: fields.required("epoch")?,
                seqs: fields.required("seqs")?,
                digests: fields.required("digests")?,
                macs: fields.required("macs")?,
            };
            Ok(Response::data(json!({ "wrong": audit.check(&question).await? })).into())
        }
        ("config/auditing/request-headers", List) => {
            let names: Vec<_> = audit.audited_headers().into_iter().map(|header| header.name).collect();
            if names.is_empty() {
                return Err(Error::not_found());
            }
            Ok(Response::data(json!({ "keys": names })).into())
        }
        ("config/auditing/request-headers", _) => {
            let rows = audit.audited_headers().into_iter().map(|header| (header.name, json!({ "hmac": header.hmac })));
            Ok(Response::data(json!({ "headers": Map::from_iter(rows) })).into())
        }
        ("config/auditing/request-headers/:header", operation) => {
            let name = fields.required("header")?;
            match operation {
                Read => {
                    let mut headers = audit.audited_headers().into_iter();
                    let found = headers.find(|header| header.name.eq_ignore_ascii_case(name));
                    let header = found.ok_or_else(|| Error::invalid("Could not find header in config"))?;
                    return Ok(Response::data(json!({ header.name: { "hmac": header.hmac } })).into());
                }
                Delete => audit.set_header(name, None).await?,
                _ => audit.set_header(name, Some(fields.bool("hmac").unwrap_or(false))).await?,
            }
            Ok(Reply::default())
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
            let device = NewDevice {
                path,
                kind: fields.required("type")?,
                description: fields.string("description").unwrap_or_default(),
                options: fields.string_map("options").unwrap_or_default(),
                local: fields.bool("local").unwrap_or(false),
            };
            audit.enable(device, &test).await?;
            Ok(Reply::default())
        }
    }
}
