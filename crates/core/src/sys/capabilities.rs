//! `sys/capabilities*`: what a token may do at paths.

use holdfast_logical::{Auth, Field, Kind, Operation::Update, PathTable, Response};
use holdfast_policy::Place;
use holdfast_secret::SecretString;
use serde_json::{Map, json};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
};

const PATHS: Field = Field::new("paths", Kind::StringList, "Paths to ask about.");
const PATH: Field = Field::new("path", Kind::StringList, "Old name of paths.");

pub const ROWS: &PathTable = &[
    row(
        "capabilities",
        &[Update],
        &[PATHS, PATH, Field::sensitive("token", Kind::String, "The token to ask about.")],
        Auth::Token,
        "What a token may do.",
    ),
    row("capabilities-self", &[Update], &[PATHS, PATH], Auth::Token, "What the caller's token may do."),
    row(
        "capabilities-accessor",
        &[Update],
        &[PATHS, PATH, Field::new("accessor", Kind::String, "Accessor of the token to ask about.")],
        Auth::Token,
        "What the token of an accessor may do.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (open, namespace, fields) = (&call.open, call.namespace(), &call.request.fields);
    let paths = fields.list("paths").or_else(|| fields.list("path")).unwrap_or_default();
    if paths.is_empty() {
        return Err(Error::invalid("paths must be supplied"));
    }
    let policies = match call.request.route {
        "capabilities" => {
            let id = SecretString::new(fields.required("token")?);
            let (_, token, _) =
                open.tokens.find_in(call.namespace(), &id).await?.ok_or_else(|| Error::invalid("invalid token"))?;
            open.rights(call.namespace(), &token).await?.policies
        }
        "capabilities-accessor" => {
            let accessor = fields.required("accessor")?;
            let found = open.tokens.by_accessor(call.namespace(), accessor).await?;
            let (_, token, _) = found.ok_or_else(|| Error::invalid("invalid accessor"))?;
            open.rights(call.namespace(), &token).await?.policies
        }
        _ => call.holder()?.policies.clone(),
    };
    let capabilities = |path: &str| {
        let full = namespace.full_path(path.trim_start_matches('/'));
        json!(policies.capabilities(Place { path: &full, namespace: &namespace.path }))
    };
    let mut shown = Map::new();
    for path in &paths {
        shown.insert(path.clone(), capabilities(path));
    }
    if let [path] = paths.as_slice() {
        shown.insert("capabilities".to_owned(), capabilities(path));
    }
    Ok(Response::data(shown).into())
}
