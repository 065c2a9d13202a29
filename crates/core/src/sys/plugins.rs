//! `sys/plugins`: what this build has. Plug-ins are compiled in, so nothing can be registered or removed.

use holdfast_api_types::PLUGIN_VERSION;
use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable, Response,
};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Class, Error,
    call::{Call, Reply},
};

const TYPE: Field = Field::new("type", Kind::String, "auth, database or secret.");
const PLUGIN: &[Field] = &[
    TYPE,
    Field::new("name", Kind::String, "Name of the plug-in."),
    Field::new("version", Kind::String, "Ignored."),
    Field::new("sha256", Kind::String, "Not served."),
    Field::new("command", Kind::String, "Not served."),
    Field::new("args", Kind::StringList, "Not served."),
    Field::new("env", Kind::StringList, "Not served."),
];
const RELOAD: &[Field] = &[
    Field::new("plugin", Kind::String, "Name of the plug-in."),
    Field::new("mounts", Kind::StringList, "Paths of mounts."),
    Field::new("scope", Kind::String, "global or nothing."),
];

pub const ROWS: &PathTable = &[
    row("plugins/catalog", &[Read, List], &[], Auth::Sudo, "The plug-ins of this build, by type."),
    row("plugins/catalog/:type", &[Read, List], &[TYPE], Auth::Sudo, "The plug-ins of a type."),
    row("plugins/catalog/:type/:name", &[Read, Update, Delete], PLUGIN, Auth::Sudo, "One plug-in."),
    row(
        "plugins/reload/backend",
        &[Update],
        RELOAD,
        Auth::Sudo,
        "Plug-ins are compiled in: there is nothing to reload.",
    ),
    row(
        "plugins/reload/backend/status",
        &[Read],
        &[Field::new("reload_id", Kind::String, "Id of the reload.")],
        Auth::Sudo,
        "How a reload went.",
    ),
];

const TYPES: &[&str] = &["auth", "database", "secret"];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (registry, fields) = (&call.open.config.registry, &call.request.fields);
    let names = |kind: &str| -> Result<Vec<String>, Error> {
        match kind {
            "auth" => Ok(registry.kinds(Class::Auth).into_iter().map(str::to_owned).collect()),
            "secret" => Ok(registry.kinds(Class::Secret).into_iter().map(str::to_owned).collect()),
            "database" => Ok(registry.databases().to_vec()),
            "" | "unknown" => Ok(Vec::new()),
            other => Err(Error::invalid(format!("unsupported plugin type {other:?}"))),
        }
    };
    let detail = |kind: &str, name: &str| json!({ "name": name, "type": kind, "builtin": true, "version": PLUGIN_VERSION, "deprecation_status": "supported" });
    let kind = fields.string("type").unwrap_or_default();
    match (call.request.route, call.request.operation) {
        ("plugins/reload/backend", _) => {
            if !fields.has("plugin") && !fields.has("mounts") {
                return Err(Error::invalid("plugin or mounts must be provided"));
            }
            Ok(Response::data(json!({ "reload_id": call.request.id })).into())
        }
        ("plugins/reload/backend/status", _) => Ok(Response::data(json!({ "results": {} })).into()),
        ("plugins/catalog", _) => {
            let (mut shown, mut detailed) = (Map::new(), Vec::new());
            for kind in TYPES {
                let names = names(kind)?;
                detailed.extend(names.iter().map(|name| detail(kind, name)));
                shown.insert((*kind).to_owned(), json!(names));
            }
            shown.insert("detailed".to_owned(), Value::Array(detailed));
            Ok(Response::data(shown).into())
        }
        ("plugins/catalog/:type", _) => Ok(Response::keys(names(kind)?)?.into()),
        (_, Read) => {
            let name = fields.required("name")?;
            if !names(kind)?.iter().any(|known| known == name) {
                return Err(Error::not_found());
            }
            Ok(Response::data(json!({
                "args": [],
                "builtin": true,
                "command": "",
                "deprecation_status": "supported",
                "name": name,
                "sha256": "",
                "version": PLUGIN_VERSION,
            }))
            .into())
        }
        (_, Delete) => {
            // As in Vault, what is not registered is gone already; what is built in stays.
            names(kind)?;
            Ok(Reply::default())
        }
        _ => Err(Error::invalid("plug-ins are compiled in; none can be registered")),
    }
}
