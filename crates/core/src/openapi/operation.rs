//! One method of one path.

use holdfast_logical::{Field, Kind, Operation, Row};
use serde_json::{Map, Value, json};

use super::captures;

/// An operation as HTTP has it.
pub struct Method {
    /// What is served.
    pub operation: Operation,
    /// Key of the path item.
    pub verb: &'static str,
    /// In the operation id.
    pub word: &'static str,
}

/// The methods of a row. `Create` and `Update` are one, and a list is a read of the path with a slash.
pub fn methods(row: &Row) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    for operation in row.operations {
        let (verb, word) = match operation {
            Operation::Read => ("get", "read"),
            Operation::List => ("get", "list"),
            Operation::Create | Operation::Update => ("post", "write"),
            Operation::Patch => ("patch", "patch"),
            Operation::Delete => ("delete", "delete"),
            Operation::Scan | Operation::Help => continue,
        };
        if !methods.iter().any(|method| method.word == word) {
            methods.push(Method { operation: *operation, verb, word });
        }
    }
    methods
}

/// Parameters of the query: of lists that they are ones, of reads and deletes the fields that are not in the path.
pub fn queries(row: &Row, method: &Method) -> Vec<Value> {
    let mut queries = Vec::new();
    if method.operation == Operation::List {
        queries.push(json!({
            "name": "list",
            "in": "query",
            "required": true,
            "description": "Must be set to `true`",
            "schema": { "type": "string", "enum": ["true"] },
        }));
    }
    if method.operation == Operation::Read && row.operations.iter().all(|one| *one == Operation::Read) {
        queries.extend(others(row).map(
            |field| json!({ "name": field.name, "in": "query", "description": field.help, "schema": schema(field) }),
        ));
    }
    queries
}

/// The schema of the body, if there is one.
pub fn body(row: &Row, method: &Method) -> Option<Value> {
    if !matches!(method.verb, "post" | "patch") {
        return None;
    }
    let properties: Map<String, Value> = others(row).map(|field| (field.name.to_owned(), schema(field))).collect();
    (!properties.is_empty()).then(|| json!({ "type": "object", "properties": properties }))
}

/// What is answered; not more than that, as rows do not say it.
pub fn responses(method: &Method) -> Value {
    match method.verb {
        "delete" => json!({ "204": { "description": "empty body" } }),
        _ => json!({ "200": { "description": "OK" } }),
    }
}

fn others(row: &Row) -> impl Iterator<Item = &Field> {
    row.fields.iter().filter(|field| !captures(row.pattern).any(|name| name == field.name))
}

fn schema(field: &Field) -> Value {
    let mut schema = match field.kind {
        Kind::String => json!({ "type": "string" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int => json!({ "type": "integer" }),
        Kind::Duration | Kind::SignedDuration => json!({ "type": "string", "format": "duration" }),
        Kind::StringList => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::StringMap => {
            json!({ "type": "object", "format": "kvpairs", "additionalProperties": { "type": "string" } })
        }
        Kind::Object => json!({ "type": "object", "format": "map" }),
        Kind::Any => json!({}),
    };
    schema["description"] = json!(field.help);
    if field.sensitive {
        schema["x-vault-displayAttrs"] = json!({ "sensitive": true });
    }
    schema
}
