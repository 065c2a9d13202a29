//! What the core tells about a request, in clear. No `Serialize`, no `Debug` of contents: only a [`crate::Hasher`] makes
//! something of it that may be written.

use std::{collections::BTreeMap, time::Duration};

use holdfast_base::Timestamp;
use holdfast_secret::SecretString;
use serde_json::{Map, Value};

/// Before a request is served.
#[derive(Default)]
pub struct RequestEntry<'a> {
    /// When the request came.
    pub time: Timestamp,
    /// Who asks.
    pub auth: Auth<'a>,
    /// What is asked.
    pub request: Request<'a>,
    /// Why it is refused, if it is. In clear: texts of errors hold no secrets.
    pub error: Option<&'a str>,
    /// What only we say of it.
    pub more: More<'a>,
}

/// What goes under `hf`.
#[derive(Clone, Copy, Default)]
pub struct More<'a> {
    /// From the arrival to this entry.
    pub duration: Option<Duration>,
    /// Of the W3C header `traceparent`, 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// Why the policies decided so.
    pub reason: &'a str,
}

/// Before the answer leaves.
#[derive(Default)]
pub struct ResponseEntry<'a> {
    /// When the answer was ready.
    pub time: Timestamp,
    /// Who asked.
    pub auth: Auth<'a>,
    /// What was asked.
    pub request: Request<'a>,
    /// What is answered.
    pub response: Response<'a>,
    /// Why it failed, if it did.
    pub error: Option<&'a str>,
    /// What only we say of it.
    pub more: More<'a>,
}

/// The token behind a request. All empty on login paths.
#[derive(Clone, Default)]
pub struct Auth<'a> {
    /// The token; hashed.
    pub client_token: Option<&'a SecretString>,
    /// Hashed, unless the device says otherwise.
    pub accessor: &'a str,
    /// As the auth method named it.
    pub display_name: &'a str,
    /// All policies.
    pub policies: &'a [String],
    /// Those of the token.
    pub token_policies: &'a [String],
    /// Those of the entity.
    pub identity_policies: &'a [String],
    /// What the policies said.
    pub policy_results: Option<PolicyResults<'a>>,
    /// From the auth method; in clear.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// Entity behind the token.
    pub entity_id: &'a str,
    /// `service` or `batch`.
    pub token_type: &'a str,
    /// Seconds, at creation.
    pub token_ttl: u64,
    /// When the token was made.
    pub token_issue_time: Option<Timestamp>,
    /// Uses that are left; 0 is unlimited.
    pub remaining_uses: u64,
}

/// What the policies said.
#[derive(Clone, Copy, Default)]
pub struct PolicyResults<'a> {
    /// May it be done?
    pub allowed: bool,
    /// Id of the namespace of these policies; `root` where empty.
    pub namespace_id: &'a str,
    /// Policies that grant it, with the pattern of the stanza.
    pub granting: &'a [(String, String)],
}

/// What is asked.
#[derive(Clone, Default)]
pub struct Request<'a> {
    /// UUID; the same in the response entry and in the envelope.
    pub id: &'a str,
    /// `create`, `read`, …
    pub operation: &'a str,
    /// Path of the mount, `secret/`.
    pub mount_point: &'a str,
    /// Type of the mount.
    pub mount_type: &'a str,
    /// Accessor of the mount.
    pub mount_accessor: &'a str,
    /// `secret` or `auth`.
    pub mount_class: &'a str,
    /// Version of the plug-in that serves it.
    pub mount_version: &'a str,
    /// Who is counted as client: the entity, or a hash of the token.
    pub client_id: &'a str,
    /// The token as sent; hashed.
    pub client_token: Option<&'a SecretString>,
    /// Hashed, unless the device says otherwise.
    pub client_token_accessor: &'a str,
    /// Path of the namespace; empty for the root namespace.
    pub namespace: &'a str,
    /// Its id; empty for the root namespace.
    pub namespace_id: &'a str,
    /// Path within the namespace, without `/v1/`.
    pub path: &'a str,
    /// Body and query; every string in it is hashed.
    pub data: Option<&'a Map<String, Value>>,
    /// Address of the client.
    pub remote_address: String,
    /// Port of the client; 0 when unknown.
    pub remote_port: u16,
    /// Seconds asked for; 0 for none.
    pub wrap_ttl: u64,
    /// Only the headers that are configured to be logged.
    pub headers: BTreeMap<String, Header>,
    /// Of the client certificate.
    pub client_certificate_serial_number: &'a str,
    /// `audit_non_hmac_request_keys` of the mount: strings below these keys stay in clear.
    pub clear_keys: &'a [String],
}

/// A header that is to be logged.
#[derive(Clone, Default)]
pub struct Header {
    /// Its values.
    pub values: Vec<String>,
    /// In clear?
    pub clear: bool,
}

/// What is answered.
#[derive(Clone, Default)]
pub struct Response<'a> {
    /// A token that was made.
    pub auth: Option<ResponseAuth<'a>>,
    /// `data`; every string in it is hashed.
    pub data: Option<&'a Map<String, Value>>,
    /// Lease of the credential, in clear.
    pub lease_id: &'a str,
    /// Set when the answer is wrapped.
    pub wrap_info: Option<WrapInfo<'a>>,
    /// In clear.
    pub warnings: &'a [String],
    /// A body that is no JSON of ours.
    pub raw: Option<RawBody<'a>>,
    /// `audit_non_hmac_response_keys` of the mount.
    pub clear_keys: &'a [String],
}

/// A body that is no JSON of ours.
#[derive(Clone, Copy)]
pub struct RawBody<'a> {
    /// HTTP status.
    pub status: u16,
    /// Content-Type.
    pub content_type: &'a str,
    /// The body; hashed.
    pub body: &'a [u8],
}

/// A token that was made.
#[derive(Clone, Default)]
pub struct ResponseAuth<'a> {
    /// Hashed.
    pub client_token: &'a str,
    /// Hashed, unless the device says otherwise.
    pub accessor: &'a str,
    /// As the auth method named it.
    pub display_name: &'a str,
    /// All policies.
    pub policies: &'a [String],
    /// Those of the token.
    pub token_policies: &'a [String],
    /// In clear.
    pub metadata: Option<&'a BTreeMap<String, String>>,
    /// Entity behind it.
    pub entity_id: &'a str,
    /// `service` or `batch`.
    pub token_type: &'a str,
    /// Seconds.
    pub token_ttl: u64,
    /// Uses; 0 is unlimited.
    pub num_uses: u64,
}

/// A wrapped answer.
#[derive(Clone, Default)]
pub struct WrapInfo<'a> {
    /// Hashed.
    pub token: &'a str,
    /// Hashed, unless the device says otherwise.
    pub accessor: &'a str,
    /// Seconds.
    pub ttl: u64,
    /// RFC 3339.
    pub creation_time: &'a str,
    /// Path that was wrapped.
    pub creation_path: &'a str,
    /// Accessor of a wrapped token; hashed, unless the device says otherwise.
    pub wrapped_accessor: &'a str,
}
