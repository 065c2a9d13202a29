//! `sys/wrapping/*`: wrapping tokens, opened exactly once.

use std::time::Duration;

use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Read, Update},
    PathTable, Response,
};
use holdfast_secret::{SecretBytes, SecretString};
use serde_json::json;

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
    pipeline,
    token::{Token, Wrapped},
};

const TOKEN: &[Field] = &[Field::sensitive("token", Kind::String, "The wrapping token; default: the caller's.")];

pub const ROWS: &PathTable = &[
    row("wrapping/wrap", &[Update], &[], Auth::Token, "Wraps the body."),
    row("wrapping/lookup", &[Read, Update], TOKEN, Auth::None, "What a wrapping token is, without opening it."),
    row("wrapping/unwrap", &[Update], TOKEN, Auth::Token, "Opens a wrapping token, once."),
    row("wrapping/rewrap", &[Update], TOKEN, Auth::Token, "Exchanges a wrapping token for a fresh one."),
];

pub async fn handle(mut call: Call) -> Result<Reply, Error> {
    match call.request.route {
        "wrapping/wrap" => {
            if call.wrap_ttl.is_none() {
                return Err(Error::invalid("endpoint requires response wrapping to be used"));
            }
            Ok(Response::data(call.request.fields.take_unknown()).into())
        }
        "wrapping/lookup" => {
            let id = named(&call).or_else(|| call.presented.as_ref().map(SecretString::duplicate));
            let id = id.ok_or_else(|| Error::invalid("missing \"token\" value in input"))?;
            let found = call.open.tokens.find_in(call.namespace(), &id).await?;
            let (_, token, _) = found.ok_or_else(invalid)?;
            let wrapped = token.wrapped.as_ref().filter(|_| token.uses == Some(1)).ok_or_else(invalid)?;
            Ok(Response::data(json!({
                "creation_path": wrapped.creation_path,
                "creation_time": token.created.to_string(),
                "creation_ttl": wrapped.ttl,
            }))
            .into())
        }
        "wrapping/unwrap" => {
            let (wrapped, payload) = open_once(&call).await?;
            let content_type = wrapped.content_type.unwrap_or_else(|| "application/json".to_owned());
            Ok(Reply { verbatim: Some((content_type, payload.expose().to_vec())), ..Reply::default() })
        }
        _ => {
            let (wrapped, payload) = open_once(&call).await?;
            let ttl = Duration::from_secs(wrapped.ttl);
            let namespace = call.namespace();
            pipeline::wrapped(&call.open, namespace, &wrapped.creation_path, ttl, wrapped.content_type, payload).await
        }
    }
}

/// The token in the body.
fn named(call: &Call) -> Option<SecretString> {
    call.request.fields.string("token").filter(|token| !token.is_empty()).map(SecretString::new)
}

/// Takes the one use of the wrapping token, in the body or the caller's own (whose use is taken already), and its
/// payload. Of two at once, one gets it.
async fn open_once(call: &Call) -> Result<(Wrapped, SecretBytes), Error> {
    let tokens = &call.open.tokens;
    let own = call.holder()?;
    let (hash, token): (String, Token) = match named(call).filter(|id| *id != own.id) {
        Some(id) => {
            let (hash, token, _) = tokens.find_in(call.namespace(), &id).await?.ok_or_else(invalid)?;
            if token.wrapped.is_none() {
                return Err(invalid());
            }
            let token = tokens.take_use(&hash).await?.ok_or_else(invalid)?;
            (hash, token)
        }
        None => (own.hash.clone(), Token::clone(&own.token)),
    };
    let wrapped = token.wrapped.ok_or_else(invalid)?;
    let payload = tokens.payload(&hash).await?.ok_or_else(invalid)?;
    tokens.revoke(&hash).await?;
    Ok((wrapped, payload))
}

fn invalid() -> Error {
    Error::invalid("wrapping token is not valid or does not exist")
}
