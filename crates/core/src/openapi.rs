//! The OpenAPI 3.0 document of the mounted paths, made from the same rows that route and validate requests.

mod operation;

use std::collections::BTreeSet;

use holdfast_api_types::VAULT_VERSION;
use holdfast_logical::{Operation, Row};
use serde_json::{Map, Value, json};

use self::operation::Method;

/// A document that is being made.
pub struct Document {
    title: String,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    ids: BTreeSet<String>,
}

/// Where rows are served, and as what.
pub struct Place<'a> {
    /// In front of the patterns: `secret/`, `sys/`, or `{kv_mount_path}/`.
    pub prefix: &'a str,
    /// Type of the mount: `kv`, `system`; first word of the operation ids.
    pub kind: &'a str,
    /// `secrets`, `auth`, `system` …
    pub tag: &'a str,
    /// Name and default of the parameter in the prefix, if there is one.
    pub mount: Option<(&'a str, &'a str)>,
}

/// Without paths.
impl Default for Document {
    fn default() -> Self {
        Self { title: "HashiCorp Vault API".to_owned(), paths: Map::new(), schemas: Map::new(), ids: BTreeSet::new() }
    }
}

impl Document {
    /// Adds rows. A path and method that is there already stays, as the first row that matches serves a request.
    pub fn add<'r>(&mut self, place: &Place<'_>, rows: impl IntoIterator<Item = &'r Row>) {
        for row in rows {
            for method in operation::methods(row) {
                self.add_method(place, row, method);
            }
        }
    }

    /// The document.
    pub fn finish(self) -> Value {
        json!({
            "openapi": "3.0.2",
            "info": {
                "title": self.title,
                "description": "HTTP API that gives you full access to Vault. All API routes are prefixed with `/v1/`.",
                "version": VAULT_VERSION,
                "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
            },
            "paths": self.paths,
            "components": { "schemas": self.schemas },
        })
    }

    fn add_method(&mut self, place: &Place<'_>, row: &Row, method: Method) {
        let mut path = format!("/{}{}", place.prefix, template(row.pattern));
        let lists = method.operation == Operation::List;
        if lists && !path.ends_with('/') {
            path.push('/');
        }
        let item = self.paths.entry(path).or_insert_with(|| path_item(place, row));
        let Value::Object(item) = item else { return };
        if item.contains_key(method.verb) {
            return;
        }
        let id = unique(&mut self.ids, place.kind, row.pattern, &method);
        let mut operation = Map::new();
        operation.insert("summary".to_owned(), json!(row.help));
        operation.insert("operationId".to_owned(), json!(id));
        operation.insert("tags".to_owned(), json!([place.tag]));
        let queries = operation::queries(row, &method);
        if !queries.is_empty() {
            operation.insert("parameters".to_owned(), json!(queries));
        }
        if let Some(schema) = operation::body(row, &method) {
            let name = format!("{}Request", camel(&id));
            let content_type = if method.verb == "patch" { "application/merge-patch+json" } else { "application/json" };
            let content = json!({ content_type: { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
            operation.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
            self.schemas.insert(name, schema);
        }
        operation.insert("responses".to_owned(), operation::responses(&method));
        item.insert(method.verb.to_owned(), Value::Object(operation));
    }
}

/// What all methods of a path share.
fn path_item(place: &Place<'_>, row: &Row) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if let Some((name, default)) = place.mount {
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": "Path that the backend was mounted at",
            "schema": { "type": "string", "default": default },
        }));
    }
    for name in captures(row.pattern) {
        let field = row.fields.iter().find(|field| field.name == name);
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": field.map_or("", |field| field.help),
            "schema": { "type": "string" },
        }));
    }
    let mut item = Map::new();
    item.insert("description".to_owned(), json!(row.help));
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), json!(parameters));
    }
    match row.auth {
        holdfast_logical::Auth::Sudo => drop(item.insert("x-vault-sudo".to_owned(), json!(true))),
        holdfast_logical::Auth::None => drop(item.insert("x-vault-unauthenticated".to_owned(), json!(true))),
        holdfast_logical::Auth::Token => {}
    }
    if row.operations.contains(&Operation::Create) {
        item.insert("x-vault-createSupported".to_owned(), json!(true));
    }
    Value::Object(item)
}

/// `data/*path` as `data/{path}`.
fn template(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.strip_prefix([':', '*']) {
        Some(name) => format!("{{{name}}}"),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// Names in a pattern.
pub(crate) fn captures(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('/').filter_map(|segment| segment.strip_prefix([':', '*']))
}

/// `kv-v2-read-data`: type, verb and the words of the path; the names in it too where that is not enough.
fn unique(ids: &mut BTreeSet<String>, kind: &str, pattern: &str, method: &Method) -> String {
    let words = |all: bool| {
        let segments = pattern.split('/').filter_map(|segment| match segment.strip_prefix([':', '*']) {
            Some(name) => all.then_some(name),
            None => Some(segment),
        });
        let prefix = if kind == "system" { None } else { Some(kind) };
        let words = prefix.into_iter().chain([method.word]).chain(segments);
        words.map(|word| word.replace(['_', '.'], "-")).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    };
    let numbered = (2..).map(|number| format!("{}-{number}", words(true)));
    let id = [words(false), words(true)].into_iter().chain(numbered).find(|id| !ids.contains(id));
    let id = id.unwrap_or_default();
    ids.insert(id.clone());
    id
}

fn camel(id: &str) -> String {
    let words = id.split('-').map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    });
    words.collect()
}

/// The answer of a call for help about a path.
pub fn help(kind: &str, row: &Row) -> Value {
    let mut document = Document::default();
    document.add(&Place { prefix: "", kind, tag: kind, mount: None }, [row]);
    json!({ "help": row.help, "see_also": null, "openapi": document.finish() })
}

/// The answer of a call for help about a mount: its paths, as Vault lists them, and the document of them all.
pub fn contents(path: &str, kind: &str, rows: &[&Row]) -> Value {
    let mut document = Document::default();
    document.add(&Place { prefix: "", kind, tag: kind, mount: None }, rows.iter().copied());
    let mut paths: Vec<(&str, &str)> = rows.iter().map(|row| (row.pattern, row.help)).collect();
    paths.sort_unstable();
    let paths: String = paths.iter().map(|(pattern, help)| format!("    {pattern}\n        {help}\n\n\n")).collect();
    let help = format!(
        "## DESCRIPTION\n\nThe mount {path} is of type {kind}.\n\n## PATHS\n\nThe following paths are supported by this \
         backend. To view help for\nany of the paths below, use the help command with any route matching\nthe path \
         pattern (`:name` is one segment, `*name` the rest). Note that\ndepending on the policy of your auth token, \
         you may or may not be able to access\ncertain paths.\n\n{paths}"
    );
    json!({ "help": help, "see_also": null, "openapi": document.finish() })
}

#[cfg(test)]
mod tests {
    use holdfast_logical::{Auth, Field, Kind};

    use super::*;

    const ROWS: &[Row] = &[
        Row {
            id: "roles",
            pattern: "roles",
            operations: &[Operation::List],
            fields: &[],
            auth: Auth::Token,
            help: "Names.",
        },
        Row {
            id: "role",
            pattern: "roles/:name",
            operations: &[Operation::Create, Operation::Read, Operation::Update, Operation::Delete],
            fields: &[
                Field::new("name", Kind::String, "Name of the role."),
                Field::new("ttl", Kind::Duration, "How long."),
                Field::sensitive("password", Kind::String, "Secret."),
            ],
            auth: Auth::Sudo,
            help: "A role.",
        },
    ];

    #[test]
    fn rows_become_paths_with_methods() {
        let mut document = Document::default();
        document.add(&Place { prefix: "db/", kind: "database", tag: "secrets", mount: None }, ROWS);
        let document = document.finish();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/db/roles/", "/db/roles/{name}"]);
        let list = &paths["/db/roles/"]["get"];
        assert_eq!(
            (&list["operationId"], &list["parameters"][0]["name"]),
            (&json!("database-list-roles"), &json!("list"))
        );
        let role = &paths["/db/roles/{name}"];
        assert_eq!((&role["x-vault-sudo"], &role["parameters"][0]["name"]), (&json!(true), &json!("name")));
        assert_eq!(role["post"]["operationId"], "database-write-roles");
        let schema = &document["components"]["schemas"]["DatabaseWriteRolesRequest"]["properties"];
        assert_eq!((&schema["ttl"]["type"], &schema["ttl"]["format"]), (&json!("string"), &json!("duration")));
        assert!(schema.get("name").is_none(), "what is in the path is not in the body");
        assert_eq!(schema["password"]["x-vault-displayAttrs"]["sensitive"], true);
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut ids = BTreeSet::new();
        let read = operation::methods(&ROWS[1]).into_iter().find(|method| method.verb == "get").unwrap();
        let made: Vec<String> =
            ["a/:x", "a/:y", "a/:y"].iter().map(|pattern| unique(&mut ids, "kv", pattern, &read)).collect();
        assert_eq!(made, ["kv-read-a", "kv-read-a-y", "kv-read-a-y-2"]);
    }
}
