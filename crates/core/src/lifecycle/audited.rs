//! The audit of the paths that need neither a token nor an unsealed server.
//!
//! The second entry of an `init` (whose answer is the only one there will be) and of an `unseal` (after which devices may turn
//! out to be broken) is kept for later where no device takes it. All other answers do not leave without it.

use holdfast_audit as audit;
use holdfast_logical::Operation;
use serde_json::Value;

use crate::{Answer, Core, Error, Raw, Verb};

/// Questions that change nothing and that probes ask all the time, as in Vault.
const SILENT: [&str; 4] = ["health", "seal-status", "leader", "init"];

/// Does a request to this row leave a trace?
pub fn is_audited(route: &str, verb: Verb) -> bool {
    !(SILENT.contains(&route) && matches!(verb.operation(), Operation::Read | Operation::Help))
}

/// Runs the request between its two entries. Nothing is done without the first.
pub async fn audited(
    core: &Core,
    raw: &Raw,
    route: &str,
    work: impl Future<Output = Result<Answer, Error>>,
) -> Result<Answer, Error> {
    let serial = crate::pipeline::serial(&raw.connection.certificates);
    request(core, raw, &serial).await?;
    let outcome = work.await;
    let data = match &outcome {
        Ok(Answer::Bare { body: Value::Object(body), .. }) => Some(body),
        _ => None,
    };
    let text = outcome.as_ref().err().map(ToString::to_string);
    let response = audit::Response { data, ..audit::Response::default() };
    let entry = audit::ResponseEntry {
        time: core.config().clock.now(),
        request: asked(core, raw, &serial),
        response,
        error: text.as_deref(),
        ..audit::ResponseEntry::default()
    };
    // Where an open server has no device yet, the first one will be told.
    match core.open().filter(|open| !open.audit.is_idle()) {
        None => core.early.response(&entry).await,
        Some(open) => match open.audit.response(&entry).await {
            Err(_) if matches!(route, "init" | "unseal") => open.audit.keep(&entry),
            written => written?,
        },
    }
    outcome
}

async fn request(core: &Core, raw: &Raw, serial: &str) -> Result<(), Error> {
    let entry = audit::RequestEntry {
        time: core.config().clock.now(),
        request: asked(core, raw, serial),
        ..audit::RequestEntry::default()
    };
    let open = core.open();
    if let Some(open) = &open {
        open.audit.sync().await?;
    }
    match open.filter(|open| !open.audit.is_idle()) {
        None => core.early.request(&entry).await,
        Some(open) => open.audit.request(&entry).await,
    }
}

fn asked<'a>(core: &Core, raw: &'a Raw, serial: &'a str) -> audit::Request<'a> {
    audit::Request {
        id: &raw.id,
        operation: raw.verb.operation().as_str(),
        mount_point: "sys/",
        mount_type: "system",
        mount_class: "secret",
        client_token: raw.token.as_ref(),
        path: raw.path.trim_start_matches('/'),
        data: Some(&raw.body).filter(|body| !body.is_empty()),
        remote_address: raw.connection.remote.map(|address| address.to_string()).unwrap_or_default(),
        remote_port: raw.connection.port,
        headers: core.open().map(|open| open.audit.headers(&raw.headers)).unwrap_or_default(),
        client_certificate_serial_number: serial,
        ..audit::Request::default()
    }
}
