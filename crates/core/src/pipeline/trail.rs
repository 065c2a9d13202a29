//! What is known of a request so far, for its two audit entries.

use std::{sync::Arc, time::Instant};

use holdfast_api_types::{AuthInfo, PLUGIN_VERSION, WrapInfo};
use holdfast_audit as audit;
use holdfast_logical::Operation;
use holdfast_policy::Decision;
use serde_json::{Map, Value};

use super::parse::Parsed;
use crate::{Class, Error, call::Holder, mounts::Mounted, open::Open};

/// Filled in by the steps as they go, so that a request that was stopped is audited with what was known of it.
pub struct Trail<'p> {
    parsed: &'p Parsed,
    /// With create told from update, once that is known.
    pub operation: Operation,
    /// Where it went.
    pub mounted: Option<Arc<Mounted>>,
    /// Who asked.
    pub holder: Option<Arc<Holder>>,
    /// What the policies said.
    pub decision: Option<Decision>,
    /// When it was read.
    pub begin: Instant,
    certificate: String,
}

/// What is answered, as the audit log sees it.
#[derive(Default)]
pub struct Told<'a> {
    /// `data`.
    pub data: Option<&'a Map<String, Value>>,
    /// `auth`.
    pub auth: Option<&'a AuthInfo>,
    /// Display name behind `auth`.
    pub display_name: &'a str,
    /// `wrap_info`.
    pub wrap: Option<&'a WrapInfo>,
    /// `lease_id`.
    pub lease_id: &'a str,
    /// `warnings`.
    pub warnings: &'a [String],
    /// A body that is no JSON of ours.
    pub raw: Option<audit::RawBody<'a>>,
}

/// The trace of a `traceparent` header (W3C Trace Context §3.2): `00-<32 hexadecimal digits>-…`.
fn trace_id(header: &str) -> &str {
    let id = header.split('-').nth(1).unwrap_or_default();
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { id } else { "" }
}

impl<'p> Trail<'p> {
    /// Nothing is known but the request itself.
    pub fn new(parsed: &'p Parsed) -> Self {
        let (begin, certificate) = (Instant::now(), super::serial(&parsed.raw.connection.certificates));
        Self { parsed, operation: parsed.operation, mounted: None, holder: None, decision: None, begin, certificate }
    }

    /// Request id.
    pub fn id(&self) -> &'p str {
        &self.parsed.raw.id
    }

    /// Path within the namespace.
    pub fn path(&self) -> &'p str {
        self.parsed.local()
    }

    /// Writes the request entry; on error nothing may be done.
    pub async fn request(&self, open: &Open, error: Option<&Error>) -> Result<(), Error> {
        match open.audit.is_idle() {
            true => Ok(()),
            false => Box::pin(self.write_request(open, error)).await,
        }
    }

    /// Writes the response entry; on error the answer must not leave.
    pub async fn response(&self, open: &Open, told: Told<'_>, error: Option<&Error>) -> Result<(), Error> {
        match open.audit.is_idle() {
            true => Ok(()),
            false => Box::pin(self.write_response(open, told, error)).await,
        }
    }

    async fn write_request(&self, open: &Open, error: Option<&Error>) -> Result<(), Error> {
        let (text, reason) = (error.map(ToString::to_string), self.reason());
        let entry = audit::RequestEntry {
            time: open.config.clock.now(),
            auth: self.auth(),
            request: self.asked(open),
            error: text.as_deref(),
            more: self.more(&reason),
        };
        open.audit.request(&entry).await
    }

    async fn write_response(&self, open: &Open, told: Told<'_>, error: Option<&Error>) -> Result<(), Error> {
        let (text, reason) = (error.map(ToString::to_string), self.reason());
        let entry = audit::ResponseEntry {
            time: open.config.clock.now(),
            auth: self.auth(),
            request: self.asked(open),
            response: self.answered(told),
            error: text.as_deref(),
            more: self.more(&reason),
        };
        open.audit.response(&entry).await
    }

    fn more<'a>(&'a self, reason: &'a str) -> audit::More<'a> {
        let trace = self.parsed.raw.headers.first("traceparent").map_or("", trace_id);
        audit::More { duration: Some(self.begin.elapsed()), trace_id: trace, reason }
    }

    /// Why the policies refused it.
    fn reason(&self) -> String {
        let denied = self.decision.as_ref().filter(|decision| !decision.allowed);
        denied.map(|decision| decision.reason.to_string()).unwrap_or_default()
    }

    fn auth(&self) -> audit::Auth<'_> {
        let Some(holder) = &self.holder else { return audit::Auth::default() };
        let token = &holder.token;
        audit::Auth {
            client_token: Some(&holder.id).filter(|id| !id.is_empty()),
            accessor: &token.accessor,
            display_name: &token.display_name,
            policies: holder.all_policies(),
            token_policies: &token.policies,
            identity_policies: holder.identity_policies(),
            policy_results: self.decision.as_ref().map(|decision| audit::PolicyResults {
                allowed: decision.allowed,
                namespace_id: &token.namespace,
                granting: &decision.granting,
            }),
            metadata: token.metadata.as_ref(),
            entity_id: &token.entity_id,
            token_type: token.kind(),
            token_ttl: token.creation_ttl,
            token_issue_time: Some(token.created),
            remaining_uses: token.uses.unwrap_or(0),
        }
    }

    fn asked(&self, open: &Open) -> audit::Request<'_> {
        let (parsed, mounted) = (self.parsed, self.mounted.as_deref());
        audit::Request {
            id: &parsed.raw.id,
            operation: self.operation.as_str(),
            mount_point: mounted.map_or("", |mounted| &mounted.info.path),
            mount_type: mounted.map_or("", |mounted| &mounted.info.kind),
            mount_accessor: mounted.map_or("", |mounted| &mounted.info.accessor),
            mount_class: match mounted.map(|mounted| mounted.record.class) {
                Some(Class::Secret) => "secret",
                Some(Class::Auth) => "auth",
                None => "",
            },
            client_token: parsed.raw.token.as_ref(),
            client_token_accessor: self.holder.as_ref().map_or("", |holder| &holder.token.accessor),
            mount_version: mounted.map_or("", |_| PLUGIN_VERSION),
            client_id: self.holder.as_ref().map_or("", |holder| &holder.token.entity_id),
            namespace_id: &parsed.namespace.id,
            namespace: &parsed.namespace.path,
            path: parsed.local(),
            data: Some(&parsed.raw.body).filter(|body| !body.is_empty()),
            remote_address: parsed.raw.connection.remote.map(|address| address.to_string()).unwrap_or_default(),
            remote_port: parsed.raw.connection.port,
            wrap_ttl: parsed.raw.wrap_ttl.map_or(0, |ttl| ttl.as_secs()),
            headers: open.audit.headers(&parsed.raw.headers),
            client_certificate_serial_number: &self.certificate,
            clear_keys: mounted.map_or(&[], |mounted| &mounted.record.tuning.audit_non_hmac_request_keys),
        }
    }

    fn answered<'a>(&'a self, told: Told<'a>) -> audit::Response<'a> {
        let mounted = self.mounted.as_deref();
        audit::Response {
            auth: told.auth.map(|auth| audit::ResponseAuth {
                client_token: &auth.client_token,
                accessor: &auth.accessor,
                display_name: told.display_name,
                policies: &auth.policies,
                token_policies: &auth.token_policies,
                metadata: auth.metadata.as_ref(),
                entity_id: &auth.entity_id,
                token_type: &auth.token_type,
                token_ttl: auth.lease_duration,
                num_uses: auth.num_uses,
            }),
            data: told.data,
            lease_id: told.lease_id,
            wrap_info: told.wrap.map(|wrap| audit::WrapInfo {
                token: &wrap.token,
                accessor: &wrap.accessor,
                ttl: wrap.ttl,
                creation_time: &wrap.creation_time,
                creation_path: &wrap.creation_path,
                wrapped_accessor: &wrap.wrapped_accessor,
            }),
            warnings: told.warnings,
            raw: told.raw,
            clear_keys: mounted.map_or(&[], |mounted| &mounted.record.tuning.audit_non_hmac_response_keys),
        }
    }
}
