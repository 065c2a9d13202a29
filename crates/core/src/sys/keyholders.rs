//! What people with shares of a key do: new root tokens, new shares. Vault's old paths answer bare objects, those of
//! `sys/rotate` and `sys/generate-root-token` an envelope.

use holdfast_logical::{
    Auth, Field, Fields, Kind, Operation,
    Operation::{Delete, Read, Update},
    PathTable, Response, Row,
};
use serde_json::{Map, Value, json};

use crate::{
    Error,
    call::{Call, Reply},
    lifecycle::{
        generate_root,
        rekey::{self, Target, Wish},
        slot::Who,
    },
    open::Open,
};

const INIT: &[Field] = &[
    Field::new("secret_shares", Kind::Int, "New shares."),
    Field::new("secret_threshold", Kind::Int, "How many of them are needed."),
    Field::new("pgp_keys", Kind::StringList, "PGP keys to encrypt the shares to, base64, one for each."),
    Field::new("backup", Kind::Bool, "Keep the encrypted shares for …/backup; needs pgp_keys."),
    Field::new(
        "require_verification",
        Kind::Bool,
        "The new shares count only when enough were given back to …/verify.",
    ),
    NONCE,
];
const SHARE: &[Field] = &[Field::sensitive("key", Kind::String, "A share, hexadecimal or base64."), NONCE];
const NONCE: Field = Field::new("nonce", Kind::String, "Nonce of the ceremony.");
const ATTEMPT: &[Field] = &[
    Field::sensitive("otp", Kind::String, "One-time password of 28 characters; made up if not given."),
    Field::new("pgp_key", Kind::String, "PGP key to encrypt the token to, base64, instead of a one-time password."),
    NONCE,
];
const DECODE: &[Field] = &[
    Field::sensitive("encoded_token", Kind::String, "What generate-root answered."),
    Field::sensitive("otp", Kind::String, "The one-time password."),
];

const ALL: &[Operation] = &[Read, Update, Delete];
const BEGIN: &str = "New shares: begins (sudo), shows, cancels (sudo, or the nonce).";
const GIVE: &str = "New shares: takes one of the old shares.";
const VERIFY: &str = "New shares: takes one of them back; enough put them in force. Delete begins again.";
const BACKUP: &str = "The new shares encrypted to PGP keys, if they were kept.";

const fn row(id: &'static str, operations: &'static [Operation], fields: &'static [Field], help: &'static str) -> Row {
    super::row(id, operations, fields, Auth::Token, help)
}

const fn backup(id: &'static str) -> Row {
    super::row(id, &[Read, Delete], &[], Auth::Sudo, BACKUP)
}

pub const ROWS: &PathTable = &[
    row("rekey/init", ALL, INIT, BEGIN),
    row("rekey/update", &[Update], SHARE, GIVE),
    row("rekey/verify", ALL, SHARE, VERIFY),
    backup("rekey/backup"),
    backup("rekey/recovery-key-backup"),
    row("rekey-recovery-key/init", ALL, INIT, BEGIN),
    row("rekey-recovery-key/update", &[Update], SHARE, GIVE),
    row("rekey-recovery-key/verify", ALL, SHARE, VERIFY),
    backup("rekey-recovery-key/backup"),
    row("rotate/root/init", ALL, INIT, BEGIN),
    row("rotate/root/update", &[Update], SHARE, GIVE),
    row("rotate/root/verify", ALL, SHARE, VERIFY),
    backup("rotate/root/backup"),
    row("rotate/recovery/init", ALL, INIT, BEGIN),
    row("rotate/recovery/update", &[Update], SHARE, GIVE),
    row("rotate/recovery/verify", ALL, SHARE, VERIFY),
    backup("rotate/recovery/backup"),
    row(
        "generate-root/attempt",
        ALL,
        ATTEMPT,
        "A new root token by the holders of the shares: begins (sudo), shows, cancels.",
    ),
    row("generate-root/update", &[Update], SHARE, "Takes one share for a new root token."),
    row("generate-root-token/attempt", ALL, ATTEMPT, "The same as generate-root/attempt."),
    row("generate-root-token/update", &[Update], SHARE, "The same as generate-root/update."),
    super::row(
        "decode-token",
        &[Update],
        DECODE,
        Auth::None,
        "The token out of what generate-root answered and its one-time password.",
    ),
];

/// A request to one of these paths.
pub(crate) struct Asked<'a> {
    /// Id of the row.
    pub route: &'static str,
    /// `Read`, `Update` or `Delete`.
    pub operation: Operation,
    /// Of the body.
    pub fields: &'a Fields,
    /// By whom.
    pub who: Who,
}

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (route, operation) = (call.request.route, call.request.operation);
    let who = if call.sudo { Who::Operator } else { Who::Stranger };
    if operation == Update && who == Who::Stranger && (route.ends_with("/init") || route.ends_with("/attempt")) {
        return Err(Error::denied_by_policy());
    }
    let asked = Asked { route, operation, fields: &call.request.fields, who };
    let Some(body) = answer(&call.open, asked).await? else { return Ok(Reply::default()) };
    let enveloped = route.starts_with("rotate/") || route.ends_with("backup") || route.contains("-token");
    let bare = (!enveloped).then_some(200);
    Ok(Reply { response: Response::data(body), bare, ..Reply::default() })
}

/// Does it; `None` is 204.
pub(crate) async fn answer(open: &Open, asked: Asked<'_>) -> Result<Option<Map<String, Value>>, Error> {
    let Asked { route, operation, fields, who } = asked;
    let nonce = fields.string("nonce").filter(|nonce| !nonce.is_empty());
    if route == "decode-token" {
        let token = generate_root::decode(fields.required("encoded_token")?, fields.required("otp")?)?;
        return Ok(json!({ "token": token }).as_object().cloned());
    }
    let (noun, verb) = route.rsplit_once('/').unwrap_or_default();
    if noun.starts_with("generate-root") {
        return match (verb, operation) {
            ("attempt", Read) => generate_root::status(open).await.map(Some),
            ("attempt", Delete) => generate_root::cancel(open, who, nonce).await.map(|()| None),
            ("attempt", _) => {
                generate_root::begin(open, who, fields.string("otp"), fields.string("pgp_key")).await.map(Some)
            }
            _ => generate_root::update(open, fields.required("key")?, nonce.unwrap_or_default()).await.map(Some),
        };
    }
    let recovery = noun.contains("recovery") || verb.contains("recovery");
    let target = if recovery { Target::Recovery } else { Target::Root };
    match (verb, operation) {
        ("init", Read) => rekey::status(open, target).await.map(Some),
        ("init", Delete) => rekey::cancel(open, target, who, nonce).await.map(|()| None),
        ("init", _) => rekey::begin(open, target, who, wish(fields)).await.map(Some),
        ("verify", Read) => rekey::verification(open, target).await.map(Some),
        ("verify", Delete) => rekey::restart_verification(open, target).await.map(Some),
        ("verify", _) => {
            rekey::verify(open, target, fields.required("key")?, nonce.unwrap_or_default()).await.map(Some)
        }
        ("update", _) => {
            rekey::update(open, target, fields.required("key")?, nonce.unwrap_or_default()).await.map(Some)
        }
        (_, Delete) => rekey::delete_backup(open, target).await.map(|()| None),
        _ => rekey::read_backup(open, target).await.map(Some),
    }
}

fn wish(fields: &Fields) -> Wish {
    Wish {
        shares: fields.int("secret_shares").unwrap_or(0),
        threshold: fields.int("secret_threshold").unwrap_or(0),
        pgp_keys: fields.list("pgp_keys").unwrap_or_default(),
        backup: fields.bool("backup").unwrap_or(false),
        verification: fields.bool("require_verification").unwrap_or(false),
    }
}
