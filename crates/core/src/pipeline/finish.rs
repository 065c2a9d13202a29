//! The last steps: audit the answer, take back what was made if that fails, end a token that was used up, answer.

use std::sync::Arc;

use holdfast_api_types::Envelope;
use holdfast_logical::Data;
use holdfast_secret::SecretBytes;
use serde_json::{Map, Value};

use super::trail::{Told, Trail};
use crate::{
    Answer, Error,
    call::{Made, Reply},
    open::Open,
};

/// Answers, or takes back.
pub async fn finish(open: &Arc<Open>, trail: &Trail<'_>, outcome: Result<Box<Reply>, Error>) -> Answer {
    let audited = match &outcome {
        Ok(reply) => {
            let data = if open.audit.is_idle() { None } else { told_data(reply) };
            let told = Told {
                data: data.as_ref(),
                auth: reply.auth.as_ref(),
                display_name: &reply.display_name,
                wrap: reply.wrap.as_ref(),
                lease_id: reply.lease.as_ref().map_or("", |lease| &lease.id),
                warnings: &reply.response.warnings,
                raw: reply.response.raw.as_ref().map(|raw| holdfast_audit::RawBody {
                    status: reply.response.status.unwrap_or(200),
                    content_type: &raw.content_type,
                    body: &raw.body,
                }),
            };
            trail.response(open, told, None).await
        }
        Err(error) => trail.response(open, Told::default(), Some(error)).await,
    };
    let answer = match (audited, outcome) {
        (Ok(()), Ok(reply)) => answer(trail, reply),
        (Ok(()), Err(error)) => Answer::Error(error),
        (Err(error), Ok(reply)) => {
            Box::pin(undo(open, reply.made)).await;
            Answer::Error(error)
        }
        (Err(error), Err(_)) => Answer::Error(error),
    };
    if let Some(holder) = &trail.holder
        && holder.token.uses == Some(0)
        && let Err(error) = Box::pin(open.tokens.revoke(&holder.hash)).await
    {
        tracing::warn!(%error, "a token that was used up is not revoked yet");
    }
    answer
}

/// Revokes what a request made. What cannot be revoked now is queued by the lease and token stores.
pub async fn undo(open: &Open, made: Made) {
    if let Some(lease) = &made.lease
        && let Err(error) = open.leases.revoke(lease, true).await
    {
        tracing::error!(lease, %error, "a credential whose answer was not sent is not revoked");
    }
    for hash in &made.tokens {
        if let Err(error) = open.tokens.revoke(hash).await {
            tracing::error!(%error, "a token whose answer was not sent is not revoked");
        }
    }
}

/// The answer as the JSON that a wrapping token keeps.
pub fn body(id: &str, reply: &mut Reply, mount_type: &str) -> Result<SecretBytes, Error> {
    let envelope = envelope(id, reply, mount_type);
    let bytes = serde_json::to_vec(&envelope).map_err(|_| Error::internal("the answer cannot be encoded"))?;
    Ok(SecretBytes::new(bytes))
}

fn answer(trail: &Trail<'_>, mut reply: Box<Reply>) -> Answer {
    if let Some(events) = reply.events.take() {
        return Answer::Events(events);
    }
    if let Some((content_type, pieces)) = reply.pieces.take() {
        return Answer::Stream { content_type, pieces };
    }
    if let Some((content_type, body)) = reply.verbatim.take() {
        return Answer::Raw { status: 200, content_type, body, max_age: None };
    }
    if let Some(raw) = reply.response.raw.take() {
        let status = reply.response.status.unwrap_or(200);
        let max_age = reply.response.max_age;
        return Answer::Raw { status, content_type: raw.content_type, body: raw.body, max_age };
    }
    if let Some(status) = reply.bare {
        let body = reply.response.data.take().map_or(Value::Null, |data| Value::Object(data.into_map()));
        return Answer::Bare { status, body };
    }
    if reply.is_empty() && matches!(reply.response.status, None | Some(204)) {
        return Answer::Empty;
    }
    let status = reply.response.status.unwrap_or(200);
    let mount_type = trail.mounted.as_ref().map_or("", |mounted| mounted.info.kind.as_str());
    let id = if reply.wrap.is_some() { "" } else { trail.id() };
    let envelope = Box::new(envelope(id, &mut reply, mount_type));
    Answer::Envelope { status, envelope, top_level: top_level(trail.path()) }
}

fn envelope(id: &str, reply: &mut Reply, mount_type: &str) -> Envelope<Data> {
    let lease = reply.lease.take().unwrap_or_default();
    let warnings = std::mem::take(&mut reply.response.warnings);
    Envelope {
        request_id: id.to_owned(),
        lease_id: lease.id,
        renewable: lease.renewable,
        lease_duration: match reply.response.lease_hint {
            Some(hint) if lease.seconds == 0 => hint.as_secs(),
            _ => lease.seconds,
        },
        data: reply.response.data.take(),
        wrap_info: reply.wrap.take(),
        warnings: (!warnings.is_empty()).then_some(warnings),
        auth: reply.auth.take(),
        mount_type: mount_type.to_owned(),
    }
}

/// What the audit log is told of `data`: of an unwrapped answer, the `data` within.
fn told_data(reply: &Reply) -> Option<Map<String, Value>> {
    match &reply.verbatim {
        Some((_, body)) => serde_json::from_slice(body).ok(),
        None => reply.response.data.as_ref().map(Data::to_map),
    }
}

/// Paths whose `data` is also written at the top level, as old clients expect.
fn top_level(path: &str) -> bool {
    const EXACT: &[&str] = &[
        "sys/audit",
        "sys/auth",
        "sys/capabilities",
        "sys/capabilities-accessor",
        "sys/capabilities-self",
        "sys/config/cors",
        "sys/config/auditing/request-headers",
        "sys/ha-status",
        "sys/key-status",
        "sys/mounts",
        "sys/policy",
        "sys/rekey/backup",
        "sys/rekey/recovery-key-backup",
        "sys/remount",
        "sys/rotate",
        "sys/wrapping/wrap",
    ];
    const BELOW: &[&str] = &[
        "sys/audit/",
        "sys/audit-hash/",
        "sys/auth/",
        "sys/config/auditing/request-headers/",
        "sys/mounts/",
        "sys/policy/",
    ];
    EXACT.contains(&path.trim_end_matches('/')) || BELOW.iter().any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_find_data_at_the_top_level_of_some_paths() {
        for path in ["sys/auth", "sys/auth/", "sys/auth/kubernetes/tune", "sys/policy/", "sys/wrapping/wrap"] {
            assert!(top_level(path), "{path}");
        }
        for path in ["sys/policies/acl", "auth/token/lookup-self", "secret/data/a", "sys/leases/lookup"] {
            assert!(!top_level(path), "{path}");
        }
    }
}
