//! What the server tells of itself and of the process it runs in.

use std::collections::BTreeMap;

use holdfast_logical::{
    Auth, Error as Logical, Field, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable, Raw, Response, Row,
};
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
    metrics_json,
};

const LEVEL: Field = Field::new("level", Kind::String, "trace, debug, info, warn or error.");
const NAME: Field = Field::new("name", Kind::String, "Name of the logger: a module such as holdfast_core.");

pub const ROWS: &PathTable = &[
    row(
        "metrics",
        &[Read],
        &[Field::new("format", Kind::String, "prometheus; JSON otherwise.")],
        Auth::Token,
        "The metrics of this replica.",
    ),
    row("host-info", &[Read], &[], Auth::Token, "The machine that this replica runs on."),
    row("in-flight-req", &[Read], &[], Auth::Token, "The requests that this replica is serving."),
    row(
        "loggers",
        &[Read, Update, Delete],
        &[LEVEL],
        Auth::Token,
        "Log levels of this replica, until it starts again.",
    ),
    row("loggers/:name", &[Read, Update, Delete], &[NAME, LEVEL], Auth::Token, "Log level of one module."),
    row(
        "monitor",
        &[Read],
        &[
            Field::new("log_level", Kind::String, "Least level: trace, debug, info (the default), warn or error."),
            Field::new("log_format", Kind::String, "standard (the default) or json."),
        ],
        Auth::Token,
        "The log of this replica, from now on.",
    ),
    row("version-history", &[List], &[], Auth::Token, "Versions that have served this store."),
    row("config/state/sanitized", &[Read], &[], Auth::Token, "The configuration file without secrets."),
    row(
        "config/reload/:subsystem",
        &[Update],
        &[Field::new("subsystem", Kind::String, "license does nothing; all reads what SIGHUP does.")],
        Auth::Sudo,
        "Reads parts of the configuration again.",
    ),
    row("replication/status", &[Read], &[], Auth::None, "Replicas share one store: there is no replication."),
    row("replication/dr/status", &[Read], &[], Auth::None, "There is no replication."),
    row("replication/performance/status", &[Read], &[], Auth::None, "There is no replication."),
    Row {
        id: "internal/counters",
        pattern: "internal/counters/:what",
        operations: &[Read],
        fields: &[Field::new("what", Kind::String, "tokens, entities or requests.")],
        auth: Auth::Token,
        help: "How many there are.",
    },
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (process, fields) = (&call.open.config.process, &call.request.fields);
    let data = match call.request.route {
        "metrics" => return Ok(metrics(&process.metrics(), fields.string("format") == Some("prometheus"), &call)),
        "host-info" => process.host(),
        "in-flight-req" => {
            let shown = call.open.core.upgrade().map(|core| core.in_flight().show(call.open.config.clock.now()));
            // The whole body, as Vault has it.
            let response = Response::data(shown.unwrap_or_default());
            return Ok(Reply { response, bare: Some(200), ..Reply::default() });
        }
        "loggers" | "loggers/:name" => return loggers(&call),
        "monitor" => return monitor(&call),
        "version-history" => versions(&call).await?,
        "config/state/sanitized" => process.configuration(),
        "config/reload/:subsystem" => {
            match fields.required("subsystem")? {
                "license" => {}
                "all" => process.reload().await?,
                other => return Err(Error::invalid(format!("unknown subsystem {other:?}: use license or all"))),
            }
            return Ok(Reply::default());
        }
        "internal/counters" => return counters(&call).await,
        _ => Map::from_iter([("mode".to_owned(), json!("disabled"))]),
    };
    Ok(Response::data(data).into())
}

/// Lines as they are logged, until the caller has enough.
fn monitor(call: &Call) -> Result<Reply, Error> {
    let fields = &call.request.fields;
    let level = fields.string("log_level").filter(|level| !level.is_empty()).unwrap_or("info");
    let level = level.parse().map_err(|_| Error::invalid(format!("unknown log level {level:?}")))?;
    let (json, content_type) = match fields.string("log_format").unwrap_or_default() {
        "" | "standard" => (false, "text/plain; charset=utf-8"),
        "json" => (true, "application/x-ndjson"),
        other => return Err(Error::invalid(format!("unknown log format {other:?}: use standard or json"))),
    };
    let lines = call.open.config.process.monitor(level, json);
    let lines = lines.ok_or_else(|| Logical::Unavailable("too many listen to the log already".to_owned()))?;
    Ok(Reply { pieces: Some((content_type.to_owned(), lines)), ..Reply::default() })
}

fn metrics(text: &str, prometheus: bool, call: &Call) -> Reply {
    let (content_type, body) = match prometheus {
        true => ("text/plain; version=0.0.4; charset=utf-8", text.as_bytes().to_vec()),
        false => {
            let now = call.open.config.clock.now();
            ("application/json", metrics_json::of_text(text, now).to_string().into_bytes())
        }
    };
    let raw = Raw { content_type: content_type.to_owned(), body };
    Response { raw: Some(raw), ..Response::default() }.into()
}

/// Directives of a filter by module; the empty name is the level of all others.
fn directives(filter: &str) -> BTreeMap<&str, &str> {
    let parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or(("", part))).collect()
}

fn filter(directives: &BTreeMap<&str, &str>) -> String {
    let parts = directives.iter().map(|(name, level)| match *name {
        "" => (*level).to_owned(),
        name => format!("{name}={level}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

fn loggers(call: &Call) -> Result<Reply, Error> {
    let (process, fields) = (&call.open.config.process, &call.request.fields);
    let (current, configured) = (process.log_filter(), process.configured_log_filter());
    let mut levels = directives(&current);
    let name = fields.string("name");
    match call.request.operation {
        Read => {
            let named =
                |name: &str, level: &str| (if name.is_empty() { "holdfast" } else { name }.to_owned(), json!(level));
            let shown: Map<String, Value> = match name {
                None => levels.iter().map(|(name, level)| named(name, level)).collect(),
                Some(name) => {
                    let level = levels.get(name).or_else(|| levels.get("")).copied().unwrap_or("info");
                    Map::from_iter([(name.to_owned(), json!(level))])
                }
            };
            return Ok(Response::data(shown).into());
        }
        Delete => match name {
            None => levels = directives(&configured),
            Some(name) => match directives(&configured).get(name) {
                Some(level) => drop(levels.insert(name, level)),
                None => drop(levels.remove(name)),
            },
        },
        _ => {
            let level = match fields.required("level")?.to_lowercase().as_str() {
                "trace" => "trace",
                "debug" => "debug",
                "info" | "notice" => "info",
                "warn" | "warning" => "warn",
                "error" | "err" => "error",
                other => return Err(Error::invalid(format!("unrecognized log level {other:?}"))),
            };
            match name {
                None => levels = BTreeMap::from([("", level)]),
                Some("holdfast") => drop(levels.insert("", level)),
                Some(name) if name.contains([',', '=', '[']) => {
                    return Err(Error::invalid(format!("{name:?} is not the name of a logger")));
                }
                Some(name) => drop(levels.insert(name, level)),
            }
        }
    }
    match process.set_log_filter(&filter(&levels)) {
        true => Ok(Reply::default()),
        false => Err(Error::invalid("the log level cannot be changed")),
    }
}

async fn versions(call: &Call) -> Result<Map<String, Value>, Error> {
    let view = call.open.root.below("core").below("versions");
    let (mut keys, mut info) = (Vec::new(), Map::new());
    for name in view.list("", "", 0).await? {
        if let Some((version, _)) = view.get_json::<crate::open::Version>(&name).await? {
            keys.push((version.installed, name.clone()));
            info.insert(
                name,
                json!({
                    "build_date": version.build_date,
                    "previous_version": version.previous,
                    "timestamp_installed": version.installed.to_string(),
                }),
            );
        }
    }
    keys.sort();
    let keys: Vec<String> = keys.into_iter().map(|(_, name)| name).collect();
    Ok(Map::from_iter([("keys".to_owned(), json!(keys)), ("key_info".to_owned(), Value::Object(info))]))
}

async fn counters(call: &Call) -> Result<Reply, Error> {
    let counters = match call.request.fields.string("what").unwrap_or_default() {
        "tokens" => json!({ "service_tokens": { "total": call.open.tokens.count().await? } }),
        "entities" => json!({ "entities": { "total": entities(call).await? } }),
        "requests" => json!([]),
        // Vault answers nothing when there is nothing to report.
        "activity" => {
            return Ok(Reply { response: Response { status: Some(204), ..Response::default() }, ..Reply::default() });
        }
        _ => return Err(Error::not_found()),
    };
    Ok(Response::data(json!({ "counters": counters })).into())
}

/// Entities of all namespaces.
async fn entities(call: &Call) -> Result<u64, Error> {
    let (router, mut total) = (call.open.mounts.cached(), 0);
    for identity in router.identities() {
        total += identity.count_entities().await?;
    }
    Ok(total)
}
