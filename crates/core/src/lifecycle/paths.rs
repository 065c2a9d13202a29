//! The paths that need neither a token nor an unsealed server. Their bodies are bare objects.

mod strangers;

use std::{collections::BTreeMap, sync::Arc};

use holdfast_api_types::InitRequest;
use holdfast_logical::{Auth, Field, Fields, Kind, Operation, PathTable, Row, table};
use serde::Serialize;
use serde_json::{Value, json};

use super::{audited, unseal::Given};
use crate::{Answer, Core, Error, Raw, Verb, openapi};

/// All of them, without `sys/` in front.
pub const ROWS: &PathTable = &[
    row("init", &[Operation::Read, Operation::Update], INIT, "Initialises a new server."),
    row("seal-status", &[Operation::Read], &[], "Is the server sealed?"),
    row("unseal", &[Operation::Update], UNSEAL, "Takes one unseal share."),
    row("health", &[Operation::Read], HEALTH, "Does the server serve?"),
    row("leader", &[Operation::Read], &[], "Which replica leads? Each one does."),
];

const INIT: &[Field] = &[
    Field::new("secret_shares", Kind::Int, "Unseal shares."),
    Field::new("secret_threshold", Kind::Int, "How many of them unseal."),
    Field::new("recovery_shares", Kind::Int, "Recovery shares, where the seal stores the key."),
    Field::new("recovery_threshold", Kind::Int, "How many of them recover."),
    Field::new("pgp_keys", Kind::StringList, "PGP keys to encrypt the unseal shares to, base64, one for each."),
    Field::new(
        "recovery_pgp_keys",
        Kind::StringList,
        "PGP keys to encrypt the recovery shares to, base64, one for each.",
    ),
    Field::new("root_token_pgp_key", Kind::String, "PGP key to encrypt the root token to, base64."),
];
const UNSEAL: &[Field] = &[
    Field::sensitive("key", Kind::String, "A share, hexadecimal or base64."),
    Field::new("reset", Kind::Bool, "Forget the shares given so far."),
    Field::new("migrate", Kind::Bool, "The shares are for a change of seals."),
    Field::new("nonce", Kind::String, "Nonce of the attempt."),
];
const HEALTH: &[Field] = &[
    Field::new("activecode", Kind::Int, "Status when it serves; 200."),
    Field::new("standbycode", Kind::Int, "Accepted; there are no standbys."),
    Field::new("sealedcode", Kind::Int, "Status when sealed; 503."),
    Field::new("uninitcode", Kind::Int, "Status when not initialised; 501."),
    Field::new("drsecondarycode", Kind::Int, "Accepted; there are none."),
    Field::new("performancestandbycode", Kind::Int, "Accepted; there are none."),
    Field::new("standbyok", Kind::Any, "Accepted; there are no standbys."),
    Field::new("perfstandbyok", Kind::Any, "Accepted; there are none."),
    Field::new("requirestore", Kind::Bool, "Answer as if sealed while the store is away, for readiness probes."),
];

const fn row(id: &'static str, operations: &'static [Operation], fields: &'static [Field], help: &'static str) -> Row {
    Row { id, pattern: id, operations, fields, auth: Auth::None, help }
}

/// May the request be to one of these paths?
pub(crate) fn concerns(raw: &Raw) -> bool {
    let path = raw.path.trim_start_matches('/').strip_prefix("sys/");
    path.is_some_and(|path| table::find(ROWS, path).is_some() || strangers::concerns(path))
}

/// Serves the request if it is to one of these paths.
pub(crate) async fn serve(core: &Arc<Core>, raw: &Raw) -> Option<Result<Answer, Error>> {
    let namespace = raw.namespace.as_deref().unwrap_or_default().trim_matches('/');
    let path = raw.path.trim_start_matches('/').strip_prefix("sys/")?;
    let Some((row, captures)) = table::find(ROWS, path) else {
        return if matches!(namespace, "" | "root") { strangers::serve(core, raw, path).await } else { None };
    };
    // Clients send their namespace with everything; what is the same for all of them is answered.
    if !matches!(namespace, "" | "root") && !["health", "seal-status", "leader"].contains(&row.id) {
        return None;
    }
    if !audited::is_audited(row.id, raw.verb) {
        return Some(judged(core, raw, row, &captures).await);
    }
    Some(audited::audited(core, raw, row.id, judged(core, raw, row, &captures)).await)
}

/// Checks the request and answers it.
async fn judged(
    core: &Arc<Core>,
    raw: &Raw,
    row: &'static Row,
    captures: &BTreeMap<&'static str, &str>,
) -> Result<Answer, Error> {
    if raw.verb == Verb::Help {
        return Ok(bare(200, &openapi::help("system", row)));
    }
    if let Some(fault) = &raw.fault {
        return Err(fault.duplicate());
    }
    if !row.serves(raw.verb.operation()) {
        return Err(holdfast_logical::Error::UnsupportedOperation.into());
    }
    let fields = row.fields(captures, raw.body.clone())?;
    answer(core, raw, row.id, &fields).await
}

async fn answer(core: &Arc<Core>, raw: &Raw, route: &str, fields: &Fields) -> Result<Answer, Error> {
    match (route, raw.verb) {
        ("init", Verb::Write) => Ok(bare(200, &core.initialize(init_request(fields)?).await?)),
        ("init", _) => Ok(bare(200, &json!({ "initialized": core.is_initialized().await? }))),
        ("unseal", _) => {
            let given = Given {
                key: fields.string("key").filter(|key| !key.is_empty()),
                reset: fields.bool("reset").unwrap_or(false),
                migrate: fields.bool("migrate").unwrap_or(false),
            };
            Ok(bare(200, &core.take_share(given, raw).await?))
        }
        ("health", _) => {
            let (status, health) = core.health(&codes(fields)?, fields.bool("requirestore").unwrap_or(false)).await;
            Ok(bare(status, &health))
        }
        ("leader", _) => Ok(bare(200, &core.leader())),
        _ => Ok(bare(200, &core.seal_status().await?)),
    }
}

fn init_request(fields: &Fields) -> Result<InitRequest, Error> {
    let number = |name: &str| match fields.int(name) {
        Some(number) => match u64::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::invalid(format!("{name} cannot be negative"))),
        },
        None => Ok(None),
    };
    let keys = |name: &str| fields.list(name).unwrap_or_default();
    Ok(InitRequest {
        secret_shares: number("secret_shares")?,
        secret_threshold: number("secret_threshold")?,
        recovery_shares: number("recovery_shares")?,
        recovery_threshold: number("recovery_threshold")?,
        pgp_keys: keys("pgp_keys"),
        recovery_pgp_keys: keys("recovery_pgp_keys"),
        root_token_pgp_key: fields.string("root_token_pgp_key").map(str::to_owned),
    })
}

fn codes(fields: &Fields) -> Result<BTreeMap<&'static str, u16>, Error> {
    let mut codes = BTreeMap::new();
    for field in HEALTH.iter().filter(|field| field.kind == Kind::Int) {
        if let Some(code) = fields.int(field.name) {
            let code = u16::try_from(code).ok().filter(|code| (100..=999).contains(code));
            codes.insert(field.name, code.ok_or_else(|| Error::invalid(format!("bad value for {}", field.name)))?);
        }
    }
    Ok(codes)
}

fn bare(status: u16, body: &impl Serialize) -> Answer {
    Answer::Bare { status, body: serde_json::to_value(body).unwrap_or(Value::Null) }
}
