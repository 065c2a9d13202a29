//! `sys/policies/acl` and the older `sys/policy`.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Create, Delete, List, Read, Update},
    PathTable, Response, fold,
};
use serde_json::{Value, json};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
};

const POLICY: &[Field] = &[
    Field::name("name", "Name of the policy, which may have slashes; kept in lower case."),
    Field::new("policy", Kind::Any, "Text, HCL or JSON; may be in base64."),
    Field::new("rules", Kind::Any, "Old name of policy."),
];

pub const ROWS: &PathTable = &[
    row("policy", &[Read, List], &[], Auth::Token, "Names of the policies."),
    row("policy/*name", &[Read, Create, Update, Delete], POLICY, Auth::Token, "A policy."),
    row("policies/acl", &[Read, List], &[], Auth::Token, "Names of the policies."),
    row("policies/acl/*name", &[Read, Create, Update, Delete], POLICY, Auth::Token, "A policy."),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (policies, namespace, fields) = (&call.open.policies, call.namespace(), &call.request.fields);
    let legacy = call.request.route.starts_with("policy");
    let Some(name) = fields.string("name") else {
        let names = policies.names(namespace).await?;
        return Ok(Response::data(match legacy {
            true => json!({ "keys": names, "policies": names }),
            false => json!({ "keys": names }),
        })
        .into());
    };
    let name = fold(name.trim_end_matches('/'));
    match call.request.operation {
        Read => {
            let text = policies.text(namespace, &name).await?.ok_or_else(Error::not_found)?;
            let key = if legacy { "rules" } else { "policy" };
            Ok(Response::data(json!({ "name": name, key: text })).into())
        }
        Delete => {
            policies.delete(namespace, &name).await?;
            Ok(Reply::default())
        }
        _ => {
            let given = fields.get("policy").or_else(|| fields.get("rules").filter(|_| legacy));
            policies.put(namespace, &name, &text(given)?).await?;
            Ok(Reply::default())
        }
    }
}

/// The text as it was given; a JSON object becomes its text; base64 is decoded if the result is text.
pub(super) fn text(given: Option<&Value>) -> Result<String, Error> {
    let missing = || Error::invalid("'policy' parameter not supplied or empty");
    match given {
        Some(Value::String(text)) if !text.is_empty() => {
            let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            Ok(decoded.unwrap_or_else(|| text.clone()))
        }
        Some(object @ Value::Object(_)) => Ok(object.to_string()),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_text_or_base64_or_an_object() {
        let hcl = "path \"a\" { capabilities = [\"read\"] }";
        assert_eq!(text(Some(&json!(hcl))).unwrap(), hcl);
        assert_eq!(text(Some(&json!(STANDARD.encode(hcl)))).unwrap(), hcl);
        assert_eq!(text(Some(&json!({"path": {}}))).unwrap(), r#"{"path":{}}"#);
        assert!(text(Some(&json!(""))).is_err());
    }
}
