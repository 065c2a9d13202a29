//! The wrap step: the answer goes into the cubbyhole of a new token, and that token is answered.

use std::{sync::Arc, time::Duration};

use holdfast_api_types::WrapInfo;
use holdfast_logical::{Namespace, Response};
use holdfast_policy::RESPONSE_WRAPPING;
use holdfast_secret::SecretBytes;

use super::{finish, parse::Parsed};
use crate::{
    Class, Error,
    call::Reply,
    open::Open,
    token::{NewToken, Wrapped},
};

/// Paths whose answer is never wrapped: they deal with wrapping tokens themselves.
const NEVER: &[&str] = &["sys/wrapping/unwrap", "sys/wrapping/lookup", "sys/wrapping/rewrap"];

/// The TTL, if the answer is to be wrapped.
pub fn wanted(parsed: &Parsed) -> Option<Duration> {
    parsed.raw.wrap_ttl.filter(|_| !NEVER.contains(&parsed.local()))
}

/// Wraps an answer. One that is empty stays as it is.
pub async fn wrap(
    open: &Arc<Open>,
    parsed: &Parsed,
    ttl: Duration,
    mut reply: Box<Reply>,
) -> Result<Box<Reply>, Error> {
    if reply.is_empty() || reply.response.status.is_some_and(|status| status >= 400) {
        return Ok(reply);
    }
    let token = reply.auth.as_ref().map(|auth| auth.accessor.clone());
    let wrapped_accessor = token.or_else(|| reply.response.accessor.take()).unwrap_or_default();
    let (content_type, payload) = match reply.response.raw.take() {
        Some(raw) => (Some(raw.content_type), SecretBytes::new(raw.body)),
        None => (None, finish::body(&parsed.raw.id, &mut reply, "")?),
    };
    let mut made = std::mem::take(&mut reply.made);
    let outcome = wrapped(open, &parsed.namespace, parsed.local(), ttl, content_type, payload).await;
    let mut wrapping = match outcome {
        Ok(wrapping) => wrapping,
        Err(error) => {
            finish::undo(open, made).await;
            return Err(error);
        }
    };
    made.tokens.append(&mut wrapping.made.tokens);
    wrapping.made = made;
    if let Some(info) = &mut wrapping.wrap {
        info.wrapped_accessor = wrapped_accessor;
    }
    Ok(Box::new(wrapping))
}

/// Makes a wrapping token of a payload, which lives no longer than any token may. Also for `rewrap`.
pub async fn wrapped(
    open: &Arc<Open>,
    namespace: &Arc<Namespace>,
    creation_path: &str,
    ttl: Duration,
    content_type: Option<String>,
    payload: SecretBytes,
) -> Result<Reply, Error> {
    let ttl = ttl.min(open.config.max_lease_ttl);
    let mount = open.mounts.cached().at(namespace, Class::Auth, "token").map(|mounted| mounted.record.uuid.clone());
    let wrapped = Wrapped { creation_path: creation_path.to_owned(), ttl: ttl.as_secs(), content_type };
    let created = open
        .tokens
        .create(NewToken {
            policies: vec![RESPONSE_WRAPPING.to_owned()],
            path: creation_path.to_owned(),
            num_uses: 1,
            ttl: Some(ttl),
            explicit_max_ttl: ttl.as_secs(),
            mount: mount.unwrap_or_default(),
            wrapped: Some(wrapped),
            payload: Some(payload),
            ..NewToken::of(namespace.clone())
        })
        .await?;
    let mut reply = Reply { response: Response::empty(), ..Reply::default() };
    reply.wrap = Some(WrapInfo {
        token: created.id.expose().to_owned(),
        accessor: created.token.accessor,
        ttl: ttl.as_secs(),
        creation_time: created.token.created.to_string(),
        creation_path: creation_path.to_owned(),
        wrapped_accessor: String::new(),
    });
    reply.made.tokens.push(created.hash);
    Ok(reply)
}
