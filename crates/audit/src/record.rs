//! The line that is written: Vault's field names, made of hashed parts only.

use std::collections::BTreeMap;

use holdfast_base::Timestamp;
use serde::Serialize;

use crate::{
    Auth, Hasher, Header, More, PolicyResults, RawBody, Request, RequestEntry, Response, ResponseAuth, ResponseEntry,
    WrapInfo,
    hasher::{Hashed, HashedData},
};

/// One entry, ready to be written. Only a [`Hasher`] makes one. It is a whole JSON object; fields that belong to the
/// place in a file (sequence, previous hash) are added by the writer, which alone knows the order.
#[derive(Clone, Debug)]
pub struct Record {
    line: String,
    /// Members of `hf` that the entry brings along, each with a comma before it.
    extra: String,
}

impl Record {
    /// The line, without line feed and without what a chain adds.
    pub fn line(&self) -> &str {
        &self.line
    }

    pub(crate) fn extra(&self) -> &str {
        &self.extra
    }

    /// A line of the chain itself.
    pub(crate) fn own(line: String) -> Self {
        Self { line, extra: String::new() }
    }

    fn of(line: &Line<'_>, more: &More<'_>) -> Result<Self, serde_json::Error> {
        let mut extra = String::new();
        if let Some(duration) = more.duration {
            extra = format!(",\"duration_us\":{}", duration.as_micros());
        }
        for (name, text) in [("trace_id", more.trace_id), ("reason", more.reason)] {
            if !text.is_empty() {
                extra.push_str(&format!(",\"{name}\":{}", serde_json::Value::from(text)));
            }
        }
        Ok(Self { line: serde_json::to_string(line)?, extra })
    }
}

// === impl Hasher ===

impl Hasher {
    /// The line of a request.
    pub fn request(&self, entry: &RequestEntry<'_>) -> Result<Record, serde_json::Error> {
        let line = Line {
            time: entry.time,
            kind: "request",
            auth: self.auth(&entry.auth),
            request: self.asked(&entry.request),
            response: None,
            error: entry.error.unwrap_or_default(),
        };
        Record::of(&line, &entry.more)
    }

    /// The line of an answer.
    pub fn response(&self, entry: &ResponseEntry<'_>) -> Result<Record, serde_json::Error> {
        let line = Line {
            time: entry.time,
            kind: "response",
            auth: self.auth(&entry.auth),
            request: self.asked(&entry.request),
            response: Some(self.answered(&entry.response, &entry.request)),
            error: entry.error.unwrap_or_default(),
        };
        Record::of(&line, &entry.more)
    }

    fn auth<'a>(&self, auth: &'a Auth<'a>) -> AuthOut<'a> {
        AuthOut {
            client_token: auth.client_token.map(|token| self.text(token.expose())).unwrap_or_default(),
            accessor: self.accessor(auth.accessor),
            display_name: auth.display_name,
            policies: auth.policies,
            token_policies: auth.token_policies,
            identity_policies: auth.identity_policies,
            policy_results: auth.policy_results.as_ref().map(|results| ResultsOut {
                allowed: results.allowed,
                granting_policies: results.granting.iter().map(|rule| granting(results, rule)).collect(),
            }),
            metadata: auth.metadata.filter(|metadata| !metadata.is_empty()),
            remaining_uses: auth.remaining_uses,
            num_uses: 0,
            entity_id: auth.entity_id,
            token_type: auth.token_type,
            token_ttl: auth.token_ttl,
            token_issue_time: auth.token_issue_time,
        }
    }

    fn asked<'a>(&self, request: &'a Request<'a>) -> RequestOut<'a> {
        let shown = |header: &Header, value: &str| if header.clear { self.clear(value) } else { self.text(value) };
        let header = |(name, header): (&'a String, &Header)| {
            (name.as_str(), header.values.iter().map(|value| shown(header, value)).collect())
        };
        RequestOut {
            id: request.id,
            client_id: request.client_id,
            operation: request.operation,
            mount_point: request.mount_point,
            mount_type: request.mount_type,
            mount_accessor: request.mount_accessor,
            mount_class: request.mount_class,
            mount_running_version: request.mount_version,
            client_token: request.client_token.map(|token| self.text(token.expose())).unwrap_or_default(),
            client_token_accessor: self.accessor(request.client_token_accessor),
            namespace: namespace(request),
            path: request.path,
            data: request.data.filter(|data| !data.is_empty()).map(|data| self.data(data, request.clear_keys)),
            remote_address: &request.remote_address,
            remote_port: request.remote_port,
            wrap_ttl: request.wrap_ttl,
            headers: request.headers.iter().map(header).collect(),
            client_certificate_serial_number: request.client_certificate_serial_number,
        }
    }

    fn answered<'a>(&self, response: &'a Response<'a>, request: &Request<'a>) -> ResponseOut<'a> {
        let lists = matches!(request.operation, "list" | "scan");
        let data = response.data.filter(|data| !data.is_empty());
        ResponseOut {
            auth: response.auth.as_ref().map(|auth| self.made(auth)),
            mount_point: request.mount_point,
            mount_type: request.mount_type,
            mount_accessor: request.mount_accessor,
            mount_class: request.mount_class,
            mount_running_plugin_version: request.mount_version,
            secret: Some(SecretOut { lease_id: response.lease_id }).filter(|secret| !secret.lease_id.is_empty()),
            data: match response.raw {
                Some(raw) => Some(DataOut::Raw(self.raw_body(&raw))),
                None => data.map(|data| {
                    DataOut::Json(match lists {
                        true => self.listed(data, response.clear_keys),
                        false => self.data(data, response.clear_keys),
                    })
                }),
            },
            warnings: response.warnings,
            wrap_info: response.wrap_info.as_ref().map(|wrap| self.wrap(wrap)),
        }
    }

    fn raw_body<'a>(&self, raw: &RawBody<'a>) -> RawOut<'a> {
        let RawBody { status, content_type, body } = *raw;
        RawOut { http_content_type: content_type, http_raw_body: self.bytes(body), http_status_code: status }
    }

    fn made<'a>(&self, auth: &'a ResponseAuth<'a>) -> AuthOut<'a> {
        AuthOut {
            client_token: self.text(auth.client_token),
            accessor: self.accessor(auth.accessor),
            display_name: auth.display_name,
            policies: auth.policies,
            token_policies: auth.token_policies,
            metadata: auth.metadata.filter(|metadata| !metadata.is_empty()),
            num_uses: auth.num_uses,
            entity_id: auth.entity_id,
            token_type: auth.token_type,
            token_ttl: auth.token_ttl,
            ..AuthOut::default()
        }
    }

    fn wrap<'a>(&self, wrap: &'a WrapInfo<'a>) -> WrapOut<'a> {
        WrapOut {
            ttl: wrap.ttl,
            token: self.text(wrap.token),
            accessor: self.accessor(wrap.accessor),
            creation_time: wrap.creation_time,
            creation_path: wrap.creation_path,
            wrapped_accessor: self.accessor(wrap.wrapped_accessor),
        }
    }
}

fn granting<'a>(results: &PolicyResults<'a>, (name, pattern): &'a (String, String)) -> GrantingOut<'a> {
    GrantingOut { name, namespace_id: or_root(results.namespace_id), kind: "acl", pattern }
}

fn or_root(namespace_id: &str) -> &str {
    if namespace_id.is_empty() { "root" } else { namespace_id }
}

fn namespace<'a>(request: &Request<'a>) -> NamespaceOut<'a> {
    NamespaceOut { id: or_root(request.namespace_id), path: request.namespace }
}

// === what stands in a line ===

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    #[serde(rename = "type")]
    kind: &'static str,
    auth: AuthOut<'a>,
    request: RequestOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseOut<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Default, Serialize)]
struct AuthOut<'a> {
    #[serde(skip_serializing_if = "Hashed::is_empty")]
    client_token: Hashed,
    #[serde(skip_serializing_if = "Hashed::is_empty")]
    accessor: Hashed,
    #[serde(skip_serializing_if = "str::is_empty")]
    display_name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    token_policies: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    identity_policies: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_results: Option<ResultsOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "is_zero")]
    remaining_uses: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_uses: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    entity_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    token_type: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    token_ttl: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_issue_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct ResultsOut<'a> {
    allowed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    granting_policies: Vec<GrantingOut<'a>>,
}

#[derive(Serialize)]
struct GrantingOut<'a> {
    name: &'a str,
    namespace_id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Holdfast: pattern of the stanza that granted it.
    pattern: &'a str,
}

#[derive(Serialize)]
struct RequestOut<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_point: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_accessor: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_class: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_running_version: &'a str,
    #[serde(skip_serializing_if = "Hashed::is_empty")]
    client_token: Hashed,
    #[serde(skip_serializing_if = "Hashed::is_empty")]
    client_token_accessor: Hashed,
    namespace: NamespaceOut<'a>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<HashedData>,
    #[serde(skip_serializing_if = "str::is_empty")]
    remote_address: &'a str,
    #[serde(skip_serializing_if = "is_zero_port")]
    remote_port: u16,
    #[serde(skip_serializing_if = "is_zero")]
    wrap_ttl: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, Vec<Hashed>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_certificate_serial_number: &'a str,
}

#[derive(Serialize)]
struct NamespaceOut<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
}

#[derive(Serialize)]
struct ResponseOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<AuthOut<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_point: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_accessor: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_class: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mount_running_plugin_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<SecretOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<DataOut<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    wrap_info: Option<WrapOut<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DataOut<'a> {
    Json(HashedData),
    Raw(RawOut<'a>),
}

#[derive(Serialize)]
struct RawOut<'a> {
    http_content_type: &'a str,
    http_raw_body: Hashed,
    http_status_code: u16,
}

#[derive(Serialize)]
struct SecretOut<'a> {
    lease_id: &'a str,
}

#[derive(Serialize)]
struct WrapOut<'a> {
    ttl: u64,
    token: Hashed,
    #[serde(skip_serializing_if = "Hashed::is_empty")]
    accessor: Hashed,
    creation_time: &'a str,
    creation_path: &'a str,
    #[serde(skip_serializing_if = "Hashed::is_empty")]
    wrapped_accessor: Hashed,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_zero_port(port: &u16) -> bool {
    *port == 0
}
