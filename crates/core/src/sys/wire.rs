//! `sys/config/cors` and `sys/config/ui/headers`: what browsers are told.

use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Delete, List, Read, Update},
    PathTable, Response,
};
use serde_json::json;

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
    front::Cors,
};

const CORS: &[Field] = &[
    Field::new("allowed_origins", Kind::StringList, "https://host:port of the pages that may call; or * alone."),
    Field::new("allowed_headers", Kind::StringList, "Headers they may send, beside the usual ones."),
    Field::new("allow_credentials", Kind::Bool, "May they send cookies and client certificates?"),
    Field::new("enable", Kind::Bool, "Ignored: a write turns it on, a delete off."),
];
const HEADER: &[Field] = &[
    Field::new("header", Kind::String, "Name of the header."),
    Field::new("values", Kind::StringList, "Its values."),
    Field::new("multivalue", Kind::Bool, "Answer the list of values instead of the first."),
];

pub const ROWS: &PathTable = &[
    row("config/cors", &[Read, Update, Delete], CORS, Auth::Sudo, "What is allowed to pages of other origins."),
    row("config/ui/headers", &[List], &[], Auth::Sudo, "Names of the headers kept for a user interface."),
    row(
        "config/ui/headers/:header",
        &[Read, Update, Delete],
        HEADER,
        Auth::Sudo,
        "A header kept for a user interface.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    match call.request.route {
        "config/cors" => cors(call).await,
        _ => ui_headers(call).await,
    }
}

async fn cors(call: Call) -> Result<Reply, Error> {
    let (front, fields) = (&call.open.front, &call.request.fields);
    match call.request.operation {
        Read => {
            let cors = front.fresh().await.cors.clone();
            let mut shown = json!({ "enabled": cors.enabled });
            if cors.enabled {
                shown = json!({
                    "enabled": true,
                    "allowed_origins": cors.allowed_origins,
                    "allowed_headers": cors.headers(),
                    "allow_credentials": cors.allow_credentials,
                });
            }
            return Ok(Response::data(shown).into());
        }
        Delete => front.edit(|settings| settings.cors = Cors::default()).await?,
        _ => {
            let cors = Cors {
                enabled: true,
                allowed_origins: fields.list("allowed_origins").unwrap_or_default(),
                allowed_headers: fields.list("allowed_headers").unwrap_or_default(),
                allow_credentials: fields.bool("allow_credentials").unwrap_or(false),
            };
            cors.check()?;
            front.edit(|settings| settings.cors = cors.clone()).await?;
        }
    }
    Ok(Reply::default())
}

async fn ui_headers(call: Call) -> Result<Reply, Error> {
    let (front, fields) = (&call.open.front, &call.request.fields);
    let name = fields.string("header").unwrap_or_default().to_lowercase();
    match call.request.operation {
        List => {
            let names = front.fresh().await.ui_headers.keys().cloned().collect();
            return Ok(Response::keys(names)?.into());
        }
        Read => {
            let settings = front.fresh().await;
            let values = settings.ui_headers.get(&name).ok_or_else(Error::not_found)?;
            return Ok(Response::data(match fields.bool("multivalue") {
                Some(true) => json!({ "values": values }),
                _ => json!({ "value": values.first().map_or("", String::as_str) }),
            })
            .into());
        }
        Delete => front.edit(|settings| drop(settings.ui_headers.remove(&name))).await?,
        _ => {
            let values = fields.list("values").unwrap_or_default();
            if name.starts_with("x-vault-") {
                return Err(Error::invalid("X-Vault headers cannot be set"));
            }
            if values.is_empty() || values.iter().any(|value| value.chars().any(char::is_control)) {
                return Err(Error::invalid("header values must not be empty and must be printable"));
            }
            front.edit(|settings| drop(settings.ui_headers.insert(name.clone(), values.clone()))).await?;
        }
    }
    Ok(Reply::default())
}
