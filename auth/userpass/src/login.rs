//! `login/:username`, and the renewal of the tokens it gave.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_logical::{Error, Grant, Request, Response, cidr};
use holdfast_secret::SecretString;
use serde_json::{Map, Value};

use crate::engine::UserPass;

impl UserPass {
    pub async fn login(&self, name: &str, request: &Request) -> Result<Response, Error> {
        let password = SecretString::new(request.fields.required("password")?);
        let user = self.user(name).await?.map(|(user, _)| user);
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        let matches = self.bcrypt.matches(password, hash).await?;
        let Some(user) = user.filter(|_| matches) else {
            return Err(Error::Credentials("invalid username or password".to_owned()));
        };
        if !cidr::allows(&user.token.bound_cidrs, request.connection.remote) {
            return Err(Error::Denied("permission denied".to_owned()));
        }
        let grant = user.token.grant(Grant {
            alias: name.to_owned(),
            display_name: name.to_owned(),
            metadata: BTreeMap::from([("username".to_owned(), name.to_owned())]),
            internal: Map::from_iter([("username".to_owned(), Value::from(name))]),
            ..Grant::default()
        });
        Ok(Response { grant: Some(grant), ..Response::default() })
    }

    /// May a token of this method be renewed? The user must still be there, with the same policies.
    pub async fn renew(&self, grant: Grant) -> Result<Grant, Error> {
        let name = grant.internal.get("username").and_then(Value::as_str).unwrap_or_default();
        let Some((user, _)) = self.user(name).await? else {
            return Err(Error::invalid("the user does not exist any more, not renewing"));
        };
        let set = |policies: &[String]| policies.iter().map(|policy| policy.to_lowercase()).collect::<BTreeSet<_>>();
        if set(&user.token.policies) != set(&grant.policies) {
            return Err(Error::invalid("policies have changed, not renewing"));
        }
        Ok(user.token.limit(grant))
    }
}
