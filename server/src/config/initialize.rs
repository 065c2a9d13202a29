//! `initialize "name" { request "name" { operation path data } }`: what the first start does by itself, as root, before
//! anyone can ask anything. No token comes out of it.

use holdfast_hcl::{Body, Item};
use serde_json::{Map, Value};

use super::Error;
use holdfast_hcl::Stanza;

/// One request of a self-initialisation.
#[derive(Clone, Debug)]
pub struct InitializeRequest {
    /// For logs.
    pub name: String,
    /// `create`, `update`, `read`, `delete`, `patch` or `list`.
    pub operation: String,
    /// Below `/v1/`.
    pub path: String,
    /// Body.
    pub data: Map<String, Value>,
}

/// Reads one `initialize` stanza, its requests in order.
pub fn read(
    stanza: &Stanza<'_>,
    requests: &mut Vec<InitializeRequest>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    for (labels, request) in stanza.blocks("request", 1)? {
        let operation = request.required("operation")?;
        if !matches!(operation.as_str(), "create" | "update" | "read" | "delete" | "patch" | "list") {
            return Err(request.wrong("operation", "use create, update, patch, delete, read or list").into());
        }
        let mut data = Map::new();
        for (_, found) in request.blocks("data", 0)? {
            data.extend(to_json(found.body()));
        }
        requests.push(InitializeRequest {
            name: labels.concat(),
            operation,
            path: request.required("path")?.trim_start_matches('/').to_owned(),
            data,
        });
        request.not_yet(&["allow_failure", "token"], warnings);
        request.finish(warnings);
    }
    stanza.finish(warnings);
    Ok(())
}

/// Blocks inside of data (`options { version = "2" }`) are objects, not Vault's lists of objects.
fn to_json(body: &Body) -> Map<String, Value> {
    body.items
        .iter()
        .map(|item| match item {
            Item::Attribute(attribute) => (attribute.key.clone(), attribute.value.to_json()),
            Item::Block(block) => {
                let inner = Value::Object(to_json(&block.body));
                let value = block
                    .labels
                    .iter()
                    .rev()
                    .fold(inner, |inner, label| Value::Object(Map::from_iter([(label.clone(), inner)])));
                (block.kind.clone(), value)
            }
        })
        .collect()
}
