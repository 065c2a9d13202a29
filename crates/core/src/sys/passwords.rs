//! `sys/policies/password`.

use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Create, Delete, List, Read, Update},
    PathTable, Response,
};
use serde_json::json;

use super::{policies, row};
use crate::{
    Error,
    call::{Call, Reply},
    passwords::PasswordPolicies,
};

const NAME: Field = Field::new("name", Kind::String, "Name of the password policy.");
const POLICY: &[Field] = &[
    NAME,
    Field::new("policy", Kind::Any, "HCL or JSON, may be in base64: length, rule \"charset\" { charset, min-chars }."),
];

pub const ROWS: &PathTable = &[
    row("policies/password", &[List], &[], Auth::Token, "Names of the password policies."),
    row("policies/password/:name", &[Read, Create, Update, Delete], POLICY, Auth::Token, "A password policy."),
    row("policies/password/:name/generate", &[Read], &[NAME], Auth::Token, "A password that the policy allows."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let fields = &call.request.fields;
    let stored = PasswordPolicies::new(&call.open.root, call.namespace(), call.open.config.entropy.clone());
    let Some(name) = fields.string("name") else { return Ok(Response::keys(stored.names().await?)?.into()) };
    match (call.request.route, call.request.operation) {
        ("policies/password/:name/generate", _) => {
            if stored.text(name).await?.is_none() {
                return Err(Error::not_found());
            }
            let password = holdfast_logical::Passwords::generate(&stored, name).await?;
            Ok(Response::data(json!({ "password": password.expose() })).into())
        }
        (_, Read) => {
            let text = stored.text(name).await?.ok_or_else(Error::not_found)?;
            Ok(Response::data(json!({ "policy": text })).into())
        }
        (_, Delete) => {
            stored.delete(name).await?;
            Ok(Reply::default())
        }
        _ => {
            stored.put(name, &policies::text(fields.get("policy"))?).await?;
            Ok(Reply::default())
        }
    }
}
