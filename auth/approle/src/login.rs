//! `login`, and the renewal of the tokens it gave.

use holdfast_logical::{Check, Error, Grant, Request, Response, Revision, StoreError, Txn, cidr};
use serde_json::{Map, Value};

use crate::{
    engine::{AppRole, TRIES},
    role::Role,
    secret_id::Found,
};

impl AppRole {
    /// One text for every wrong pair, so that nobody learns which half was right.
    fn refused() -> Error {
        Error::Credentials("invalid role or secret ID".to_owned())
    }

    pub async fn login(&self, request: &Request) -> Result<Response, Error> {
        let role_id = trimmed(request, "role_id")?;
        for _ in 0..TRIES {
            let found = self.role_by_id(role_id).await?;
            let (name, role, revision) = found.ok_or_else(Self::refused)?;
            let presented = match role.bind_secret_id {
                true => Some(self.present(&role, trimmed(request, "secret_id")?).await?),
                false => None,
            };
            let grant = granted(&name, &role, presented.as_ref(), request)?;
            match self.count(&name, revision, presented.as_ref()).await {
                Ok(()) => return Ok(Response { grant: Some(grant), ..Response::default() }),
                // Another login, or a change of the role, came in between: what was read above may be wrong now.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The role whose secret ids are being tried; a role id that nobody has needs no lock.
    pub async fn alias(&self, request: &Request) -> Result<Option<String>, Error> {
        match trimmed(request, "role_id") {
            Ok(role_id) => Ok(self.role_by_id(role_id).await?.map(|(_, role, _)| role.role_id)),
            Err(_) => Ok(None),
        }
    }

    /// The secret id that was sent, if it is one of the role and still good.
    async fn present(&self, role: &Role, secret_id: &str) -> Result<Found, Error> {
        let found = self.secret_id(role, secret_id).await?.ok_or_else(Self::refused)?;
        if found.record.expired(self.services.clock.now()) {
            self.remove_secret_id(&found).await?;
            return Err(Self::refused());
        }
        Ok(found)
    }

    /// Takes one use, if the number of uses is limited: only if the record and the role are still those that were read.
    async fn count(&self, name: &str, revision: Revision, presented: Option<&Found>) -> Result<(), StoreError> {
        let Some(found) = presented.filter(|found| found.record.num_uses > 0) else { return Ok(()) };
        let mut txn = Txn::new();
        txn.check(self.services.view.path(&format!("role/{name}")), Check::At(revision));
        self.use_once(found, &mut txn)?;
        self.services.view.commit(txn).await.map(|_| ())
    }

    /// May a token of this method be renewed? The role must still be there; its times count.
    pub async fn renew(&self, grant: Grant) -> Result<Grant, Error> {
        let name = grant.internal.get("role_name").and_then(Value::as_str).unwrap_or_default();
        let Some((role, _)) = self.role(name).await? else {
            return Err(Error::Invalid(format!("role {name:?} does not exist during renewal")));
        };
        Ok(role.token.limit(grant))
    }
}

/// An id, without the line feed of the file it may come from.
fn trimmed<'r>(request: &'r Request, name: &str) -> Result<&'r str, Error> {
    match request.fields.required(name)?.trim() {
        "" => Err(Error::Invalid(format!("missing {name}"))),
        text => Ok(text),
    }
}

/// The token, if the request comes from where it may.
fn granted(name: &str, role: &Role, presented: Option<&Found>, request: &Request) -> Result<Grant, Error> {
    let remote = request.connection.remote;
    let from = |part: &str| {
        let address = remote.map_or_else(|| "unknown".to_owned(), |remote| remote.to_canonical().to_string());
        Error::Invalid(format!("source address {address:?} unauthorized by CIDR restrictions on the {part}"))
    };
    let secret = presented.map(|found| &found.record);
    if secret.is_some_and(|secret| !cidr::allows(&secret.cidr_list, remote)) {
        return Err(from("secret ID"));
    }
    if !cidr::allows(&role.secret_id_bound_cidrs, remote) {
        return Err(from("role"));
    }
    // The role may have become narrower after the secret id was made.
    if let Some(secret) = secret {
        secret.within(name, role)?;
    }
    let mut metadata = secret.map(|secret| secret.metadata.clone()).unwrap_or_default();
    metadata.insert("role_name".to_owned(), name.to_owned());
    let mut grant = role.token.grant(Grant {
        alias: role.role_id.clone(),
        metadata,
        internal: Map::from_iter([("role_name".to_owned(), Value::from(name))]),
        ..Grant::default()
    });
    if let Some(secret) = secret.filter(|secret| !secret.token_bound_cidrs.is_empty()) {
        grant.bound_cidrs.clone_from(&secret.token_bound_cidrs);
    }
    // A token that could not be used from where it is asked for is not made.
    if cidr::allows(&grant.bound_cidrs, remote) {
        Ok(grant)
    } else {
        Err(Error::Denied("permission denied".to_owned()))
    }
}
