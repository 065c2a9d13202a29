//! The paths below `auth/token/`.

use std::sync::Arc;

use futures::future::BoxFuture;
use holdfast_logical::{
    Auth, Field, Kind,
    Operation::{Create, Delete, List, Read, Update},
    PathTable, Response, fold,
    table::row,
};
use holdfast_secret::SecretString;
use serde_json::{Map, Value};

use super::{
    Created, Token, auth_info,
    batch::is_batch,
    create::{Way, create},
    roles::Role,
};
use crate::{
    Error,
    call::{Call, Made, Noun, Reply},
};

/// All of them.
pub const NOUNS: &[Noun] = &[Noun { rows: ROWS, handle }];

const CREATE: &[Field] = &[
    Field::name("role", "Token role."),
    Field::sensitive("id", Kind::String, "Id of the token, chosen by its creator; needs sudo."),
    Field::new("policies", Kind::StringList, "Policies; default: those of the parent."),
    Field::new("meta", Kind::StringMap, "Shown in lookup and audit."),
    Field::new("no_parent", Kind::Bool, "Make an orphan; needs sudo."),
    Field::new("no_default_policy", Kind::Bool, "Leave the default policy out."),
    Field::new("renewable", Kind::Bool, "May it be renewed? Default: yes."),
    Field::new("ttl", Kind::Duration, "First TTL."),
    Field::new("lease", Kind::Duration, "Old name of ttl."),
    Field::new("type", Kind::String, "service or batch."),
    Field::new("explicit_max_ttl", Kind::Duration, "Hard end."),
    Field::new("display_name", Kind::String, "For people."),
    Field::new("num_uses", Kind::Int, "Uses; 0 is unlimited."),
    Field::new("period", Kind::Duration, "Renewals give this for ever; needs sudo."),
    Field::new(
        "entity_alias",
        Kind::String,
        "Alias of the entity that the token is for; only with a role that allows it.",
    ),
];
const TOKEN: Field = Field::sensitive("token", Kind::String, "The token; in the body, not in the path.");
const ACCESSOR: Field = Field::new("accessor", Kind::String, "Accessor of the token.");
const INCREMENT: Field = Field::new("increment", Kind::Duration, "Wanted TTL.");
const ROLE: &[Field] = &[
    Field::name("name", "Name of the role; kept in lower case."),
    Field::new("allowed_policies", Kind::StringList, "Policies that may be asked for."),
    Field::new("disallowed_policies", Kind::StringList, "Policies that may not."),
    Field::new("allowed_policies_glob", Kind::StringList, "The same with *."),
    Field::new("disallowed_policies_glob", Kind::StringList, "The same with *."),
    Field::new("allowed_entity_aliases", Kind::StringList, "What entity_alias may be; with *."),
    Field::new("orphan", Kind::Bool, "Make orphans."),
    Field::new("renewable", Kind::Bool, "May they be renewed? Default: yes."),
    Field::new("path_suffix", Kind::String, "Appended to the path that lookup shows."),
    Field::new("token_type", Kind::String, "service, batch, default-service or default-batch."),
    Field::new("token_period", Kind::Duration, "Makes them periodic."),
    Field::new("period", Kind::Duration, "Old name of token_period."),
    Field::new("token_explicit_max_ttl", Kind::Duration, "Hard end."),
    Field::new("explicit_max_ttl", Kind::Duration, "Old name of token_explicit_max_ttl."),
    Field::new("token_bound_cidrs", Kind::StringList, "Addresses they may come from."),
    Field::new("bound_cidrs", Kind::StringList, "Old name of token_bound_cidrs."),
    Field::new("token_num_uses", Kind::Int, "Uses; 0 is unlimited."),
    Field::new("token_no_default_policy", Kind::Bool, "Leave the default policy out."),
];

const ROWS: &PathTable = &[
    row("create", &[Update], CREATE, Auth::Token, "Makes a child of the caller's token."),
    row("create-orphan", &[Update], CREATE, Auth::Token, "Makes a token without parent."),
    row("create/:role", &[Update], CREATE, Auth::Token, "Makes a token within the limits of a role."),
    row("lookup", &[Read, Update], &[TOKEN], Auth::Token, "Shows a token."),
    row("lookup-self", &[Read, Update], &[TOKEN], Auth::Token, "Shows the caller's token."),
    row("lookup-accessor", &[Update], &[ACCESSOR], Auth::Token, "Shows the token of an accessor, without its id."),
    row("renew", &[Update], &[TOKEN, INCREMENT], Auth::Token, "Extends a token."),
    row("renew-self", &[Update], &[TOKEN, INCREMENT], Auth::Token, "Extends the caller's token."),
    row("renew-accessor", &[Update], &[ACCESSOR, INCREMENT], Auth::Token, "Extends the token of an accessor."),
    row("revoke", &[Update], &[TOKEN], Auth::Token, "Revokes a token and its children."),
    row("revoke-self", &[Update], &[], Auth::Token, "Revokes the caller's token and its children."),
    row("revoke-accessor", &[Update], &[ACCESSOR], Auth::Token, "Revokes the token of an accessor."),
    row("revoke-orphan", &[Update], &[TOKEN], Auth::Sudo, "Revokes a token; its children become orphans."),
    row("accessors", &[List], &[], Auth::Sudo, "Accessors of all tokens."),
    row("roles", &[List], &[], Auth::Token, "Names of the token roles."),
    row("roles/:name", &[Read, Create, Update, Delete], ROLE, Auth::Token, "A token role."),
    row("tidy", &[Update], &[], Auth::Token, "Repairs what points to tokens, in the background."),
];

const IRREVOCABLE: &str = "batch tokens cannot be revoked";

fn handle(call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    match call.request.route {
        // What is asked most has a small future of its own.
        "lookup" | "lookup-self" => Box::pin(async move { lookup(&call).await }),
        _ => Box::pin(others(call)),
    }
}

async fn others(call: Call) -> Result<Reply, Error> {
    let (tokens, namespace) = (&call.open.tokens, call.namespace());
    match call.request.route {
        "create" => created(&call, create(&call, Way::Plain).await?).await,
        "create-orphan" => created(&call, create(&call, Way::Orphan).await?).await,
        "create/:role" => {
            let name = fold(call.request.fields.required("role")?);
            let role =
                tokens.role(namespace, &name).await?.ok_or_else(|| Error::invalid(format!("unknown role {name}")))?;
            created(&call, create(&call, Way::Role(Box::new(role))).await?).await
        }
        "lookup-accessor" => {
            let (_, token, _) = by_accessor(&call).await?;
            Ok(Response::data(shown(&call, "", &token).await?).into())
        }
        "renew" | "renew-self" | "renew-accessor" => renew(&call).await,
        "revoke" | "revoke-orphan" => {
            let id = SecretString::new(call.request.fields.required("token")?);
            if is_batch(&id) {
                return Err(Error::invalid(IRREVOCABLE));
            }
            match call.request.route {
                _ if !tokens.is_of(namespace, &id) => {}
                "revoke" => tokens.revoke(&tokens.hash(&id)).await?,
                _ => tokens.revoke_orphan(&tokens.hash(&id)).await?,
            }
            Ok(Reply::default())
        }
        "revoke-self" => {
            let holder = call.holder()?;
            if holder.token.batch {
                return Err(Error::invalid(IRREVOCABLE));
            }
            tokens.revoke(&holder.hash).await?;
            Ok(Reply::default())
        }
        "revoke-accessor" => {
            let (hash, ..) = by_accessor(&call).await?;
            tokens.revoke(&hash).await?;
            Ok(Reply::default())
        }
        "accessors" => Ok(Response::keys(tokens.accessors(namespace).await?)?.into()),
        "roles" => Ok(Response::keys(tokens.roles(namespace).await?)?.into()),
        "roles/:name" => role(&call).await,
        "tidy" => {
            let tokens = tokens.clone();
            Ok(call.open.tidying.start("tokens", async move { Ok(format!("{:?}", tokens.tidy().await?)) }))
        }
        _ => Err(Error::not_found()),
    }
}

/// A token as `lookup` shows it.
async fn shown(call: &Call, id: &str, token: &Token) -> Result<Map<String, Value>, Error> {
    let identity = call.open.identity_policies(&token.namespace, &token.entity_id).await?;
    let mut shown = token.show(id, &identity, call.open.tokens.now());
    let router = call.open.mounts.cached();
    if let Some(namespace) = router.namespaces().of_id(&token.namespace).filter(|namespace| !namespace.is_root()) {
        shown.insert("namespace_path".to_owned(), Value::String(namespace.path.clone()));
    }
    Ok(shown)
}

async fn created(call: &Call, (created, warnings): (Created, Vec<String>)) -> Result<Reply, Error> {
    call.open.config.metrics.tokens_created.inc();
    let token = &created.token;
    let identity = call.open.identity_policies(&token.namespace, &token.entity_id).await?;
    Ok(Reply {
        response: Response { warnings, ..Response::default() },
        auth: Some(auth_info(&created.id, token, &identity, call.open.tokens.now())),
        display_name: created.token.display_name,
        made: Made { lease: None, tokens: Some(created.hash).filter(|hash| !hash.is_empty()).into_iter().collect() },
        ..Reply::default()
    })
}

async fn lookup(call: &Call) -> Result<Reply, Error> {
    let (tokens, holder) = (&call.open.tokens, call.holder()?);
    let own = (SecretString::duplicate(&holder.id), holder.token.clone());
    let (id, token) = match call.request.fields.string("token").filter(|_| call.request.route == "lookup") {
        Some(id) => {
            let id = SecretString::new(id);
            let found = tokens.find_in(call.namespace(), &id).await?;
            let (_, token, _) = found.ok_or_else(|| holdfast_logical::Error::Denied("bad token".to_owned()))?;
            (id, Arc::new(token))
        }
        None => own,
    };
    Ok(Response::data(shown(call, id.expose(), &token).await?).into())
}

async fn renew(call: &Call) -> Result<Reply, Error> {
    let (tokens, fields) = (&call.open.tokens, &call.request.fields);
    let batch = || Error::invalid("batch tokens cannot be renewed");
    let (id, hash) = match call.request.route {
        "renew-self" if call.holder()?.token.batch => return Err(batch()),
        "renew-self" => (call.holder()?.id.duplicate(), call.holder()?.hash.clone()),
        "renew-accessor" => (SecretString::default(), by_accessor(call).await?.0),
        _ => {
            let id = SecretString::new(fields.required("token")?);
            let found = tokens.find_in(call.namespace(), &id).await?;
            let (hash, token, _) = found.ok_or_else(|| Error::invalid("token not found"))?;
            if token.batch {
                return Err(batch());
            }
            (id, hash)
        }
    };
    let router = call.open.mounts.cached();
    let connection = &call.request.connection;
    let renewed = tokens.renew(&hash, fields.duration("increment"), &router, connection).await?;
    call.open.refresh_identity(&renewed.token).await?;
    let identity = call.open.identity_policies(&renewed.token.namespace, &renewed.token.entity_id).await?;
    Ok(Reply {
        response: Response { warnings: renewed.warnings, ..Response::default() },
        auth: Some(auth_info(&id, &renewed.token, &identity, tokens.now())),
        ..Reply::default()
    })
}

async fn by_accessor(call: &Call) -> Result<(String, super::Token, i64), Error> {
    let accessor = call.request.fields.required("accessor")?;
    let found = call.open.tokens.by_accessor(call.namespace(), accessor).await?;
    found.ok_or_else(|| Error::invalid("invalid accessor"))
}

async fn role(call: &Call) -> Result<Reply, Error> {
    let (tokens, namespace, fields) = (&call.open.tokens, call.namespace(), &call.request.fields);
    let name = fold(fields.required("name")?);
    let stored = tokens.role(namespace, &name).await?;
    match call.request.operation {
        Read => Ok(Response::data(stored.ok_or_else(Error::not_found)?.show()).into()),
        Delete => {
            tokens.delete_role(namespace, &name).await?;
            Ok(Reply::default())
        }
        _ => {
            let mut role = stored.unwrap_or_else(|| Role { name: name.clone(), ..Role::default() });
            role.apply(fields)?;
            tokens.put_role(namespace, &role).await?;
            Ok(Reply::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_listed_twice() {
        let mut ids: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROWS.len());
    }
}
