//! `sys/policies/explain`: what the policies say of a request that nobody makes, and why.
//!
//! The answer comes from the functions that decide real requests, with the policies and the entity of this moment.

use std::collections::BTreeSet;

use holdfast_logical::{Auth, Error as Logical, Field, Kind, Namespace, Operation, PathTable, PolicyName, Response};
use holdfast_policy::{Capabilities, Explanation, ROOT, StanzaShown};
use holdfast_secret::SecretString;
use serde_json::{Map, Value, json};

use super::row;
use crate::{
    Error, Raw, Verb,
    call::{Call, Reply},
    pipeline::{Route, explain, parse, route},
    rights::{Rights, all_policies},
    token::Token,
};

const PATH: Field = Field::new("path", Kind::String, "Path of the request, without /v1/.");
const OPERATION: Field =
    Field::new("operation", Kind::String, "read (default), create, update, patch, delete, list, scan.");
const PARAMETERS: Field = Field::sensitive("parameters", Kind::Object, "Body or query of the request.");
const WRAP_TTL: Field = Field::new("wrap_ttl", Kind::Duration, "The wrapping that it asks for.");

pub const ROWS: &PathTable = &[
    row(
        "policies/explain",
        &[Operation::Update],
        &[
            PATH,
            OPERATION,
            PARAMETERS,
            WRAP_TTL,
            Field::sensitive("token", Kind::String, "Ask about this token."),
            Field::new("accessor", Kind::String, "Ask about the token of this accessor."),
            Field::new("entity_id", Kind::String, "Ask about any token of this entity; with policies, if it has some."),
            Field::new("policies", Kind::StringList, "Ask about a token with these policies."),
        ],
        Auth::Token,
        "Why a request of somebody would be allowed or denied.",
    ),
    row(
        "policies/explain-self",
        &[Operation::Update],
        &[PATH, OPERATION, PARAMETERS, WRAP_TTL],
        Auth::Token,
        "Why a request of the caller would be allowed or denied.",
    ),
];

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let (fields, namespace) = (&call.request.fields, call.namespace());
    let (verb, operation) = operation(fields.string("operation").unwrap_or("read"))?;
    let token = asked_about(&call).await?;
    let mut raw = Raw::new(call.request.id.clone(), verb, fields.required("path")?);
    raw.namespace = Some(namespace.path.clone());
    raw.wrap_ttl = fields.duration("wrap_ttl");
    raw.body = fields.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let router = call.open.mounts.cached();
    let mut parsed = parse(raw);
    parsed.settle(router.namespaces());
    if let Some(refused) = parsed.raw.fault.take().or(parsed.refusal.take()) {
        return Err(refused);
    }
    let own = router.namespaces().of_token(&token, &parsed.namespace);
    let own = own.ok_or_else(|| Error::invalid("the token cannot be used in the namespace of the path"))?;
    let route = router.resolve(&parsed.path).and_then(|(mounted, rest)| route(mounted, rest));
    let mut shown = Map::new();
    shown.insert("operation".to_owned(), json!(operation.as_str()));
    match call.open.rights(&own, &token).await {
        Ok(rights) => {
            let (path, explanation) = explain(&rights.policies, &parsed, operation, route);
            shown.insert("path".to_owned(), json!(path));
            show(&mut shown, &explanation, operation, route);
            show_policies(&call, &own, &token, &rights, &mut shown).await?;
        }
        Err(Error::Logical(Logical::Denied(_))) => {
            shown.insert("path".to_owned(), json!(parsed.path));
            shown.insert("allowed".to_owned(), json!(false));
            shown.insert("reason".to_owned(), json!("the entity behind the token is disabled or gone"));
        }
        Err(error) => return Err(error),
    }
    Ok(Response::data(shown).into())
}

fn operation(name: &str) -> Result<(Verb, Operation), Error> {
    Ok(match name {
        "create" => (Verb::Write, Operation::Create),
        "read" => (Verb::Read, Operation::Read),
        "update" => (Verb::Write, Operation::Update),
        "patch" => (Verb::Patch, Operation::Patch),
        "delete" => (Verb::Delete, Operation::Delete),
        "list" => (Verb::List, Operation::List),
        "scan" => (Verb::Scan, Operation::Scan),
        other => {
            let known = "create, read, update, patch, delete, list, scan";
            return Err(Error::invalid(format!("unknown operation {other:?}: use one of {known}")));
        }
    })
}

/// The token that is asked about, or one that is made up of an entity and policies.
async fn asked_about(call: &Call) -> Result<Token, Error> {
    let (open, fields) = (&call.open, &call.request.fields);
    if call.request.route == "policies/explain-self" {
        return Ok(Token::clone(&call.holder()?.token));
    }
    let text = |name: &str| fields.string(name).filter(|text| !text.is_empty());
    let policies = PolicyName::list(fields.list("policies").unwrap_or_default());
    let policies: Vec<String> = policies.iter().map(|name| name.as_str().to_owned()).collect();
    let namespace = call.namespace().id.clone();
    match (text("token"), text("accessor"), text("entity_id")) {
        (Some(id), None, None) if policies.is_empty() => {
            let found = open.tokens.find_in(call.namespace(), &SecretString::new(id)).await?;
            found.map(|(_, token, _)| token).ok_or_else(|| Error::invalid("invalid token"))
        }
        (None, Some(accessor), None) if policies.is_empty() => {
            let found = open.tokens.by_accessor(call.namespace(), accessor).await?;
            found.map(|(_, token, _)| token).ok_or_else(|| Error::invalid("invalid accessor"))
        }
        (None, None, Some(entity)) => {
            Ok(Token { namespace, ..Token::imagined(policies, entity.to_owned(), open.tokens.now()) })
        }
        (None, None, None) if !policies.is_empty() => {
            Ok(Token { namespace, ..Token::imagined(policies, String::new(), open.tokens.now()) })
        }
        _ => {
            Err(Error::invalid("give one of token, accessor, entity_id and policies; entity_id may have policies too"))
        }
    }
}

fn show(shown: &mut Map<String, Value>, explanation: &Explanation, operation: Operation, route: Option<Route<'_>>) {
    let decision = &explanation.decision;
    let auth = route.map_or(Auth::Token, |route| route.row.auth);
    let (allowed, reason) = match auth {
        Auth::None => (true, "anybody may call the path, with or without a token".to_owned()),
        Auth::Sudo if decision.allowed && !decision.sudo => {
            let pattern = explanation.pattern.as_deref().unwrap_or_default();
            (false, format!("the path demands sudo, and {pattern:?} does not grant it"))
        }
        _ => (decision.allowed, decision.reason.to_string()),
    };
    let needed = Capabilities::needed(operation);
    let more = json!({
        "allowed": allowed,
        "reason": reason,
        "capability": if needed == Capabilities::NONE { "" } else { operation.as_str() },
        "capabilities": explanation.capabilities,
        "pattern": explanation.pattern,
        "parameter": explanation.parameter(),
        "root": decision.root,
        "sudo": decision.sudo,
        "sudo_required": auth == Auth::Sudo,
        "known_path": route.is_some(),
        "stanzas": explanation.stanzas.iter().map(stanza).collect::<Vec<_>>(),
        "outranked": explanation.outranked.iter().map(stanza).collect::<Vec<_>>(),
        "left_out": explanation
            .left_out
            .iter()
            .map(|left| json!({"policy": left.policy, "path": left.pattern, "reason": left.reason}))
            .collect::<Vec<_>>(),
    });
    if let Value::Object(more) = more {
        shown.extend(more);
    }
}

fn stanza(stanza: &StanzaShown) -> Value {
    json!({
        "policy": stanza.policy,
        "path": stanza.written,
        "filled_path": stanza.filled,
        "capabilities": stanza.capabilities,
        "decides": stanza.decides,
    })
}

/// The policies that were looked at, by whom the token has them, and those that are no more than names.
async fn show_policies(
    call: &Call,
    namespace: &Namespace,
    token: &Token,
    rights: &Rights,
    shown: &mut Map<String, Value>,
) -> Result<(), Error> {
    let names = all_policies(&token.policies, rights.identity_policies());
    let found = call.open.policies.read(namespace, &names).await?;
    let found: BTreeSet<&str> = found.iter().map(|(_, policy)| policy.name()).collect();
    let missing: Vec<&String> = names.iter().filter(|name| *name != ROOT && !found.contains(name.as_str())).collect();
    shown.insert("missing_policies".to_owned(), json!(missing));
    shown.insert("policies".to_owned(), json!(names));
    shown.insert("token_policies".to_owned(), json!(token.policies));
    shown.insert("identity_policies".to_owned(), json!(rights.identity_policies()));
    let entity = rights.standing.as_ref().map(|standing| standing.entity.id.clone()).unwrap_or_default();
    shown.insert("entity_id".to_owned(), json!(entity));
    Ok(())
}
