//! `login`, and the renewal of the tokens it gave.

use holdfast_jose::Token;
use holdfast_logical::{Error, Grant, Request, Response, cidr, fold};
use serde_json::{Map, Value};

use crate::{
    claims::{Claims, Person},
    config::Config,
    engine::Jwt,
    role::Role,
};

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("error validating token: {reason}"))
}

impl Jwt {
    pub async fn login(&self, request: &Request) -> Result<Response, Error> {
        let fields = &request.fields;
        let config = self.config().await?.ok_or_else(|| Error::invalid("could not load configuration"))?;
        let name = match fields.string("role").unwrap_or_default() {
            "" => config.default_role.clone(),
            name => fold(name),
        };
        if name.is_empty() {
            return Err(Error::invalid("missing role"));
        }
        let role = self.role(&name).await?;
        let (role, _) = role.ok_or_else(|| Error::Invalid(format!("role {name:?} could not be found")))?;
        if role.browser {
            return Err(Error::invalid("role with oidc role_type is not allowed"));
        }
        let token = match fields.string("jwt").map(str::trim).unwrap_or_default() {
            "" => return Err(Error::invalid("missing token")),
            token => token,
        };
        if !cidr::allows(&role.token.bound_cidrs, request.connection.remote) {
            return Err(Error::Denied("permission denied".to_owned()));
        }
        let claims = self.verified(token, &config).await?;
        claims.check_times(&role, self.services.clock.now().as_second()).map_err(refused)?;
        claims.check_issuer(&config.bound_issuer).map_err(refused)?;
        claims.check_audience(&role.bound_audiences).map_err(refused)?;
        let wrong = |reason: String| Error::Invalid(format!("error validating claims: {reason}"));
        claims.check_bound(&role).map_err(wrong)?;
        Ok(granted(&name, &role, claims.person(&role).map_err(wrong)?))
    }

    /// The claims of a token that one of the issuer's keys signed.
    async fn verified(&self, token: &str, config: &Config) -> Result<Claims, Error> {
        let token = Token::read(token).map_err(refused)?;
        let algorithm = format!("{:?}", token.algorithm());
        if !config.jwt_supported_algs.is_empty() && !config.jwt_supported_algs.contains(&algorithm) {
            return Err(refused(format!(
                "it is signed with {algorithm}, but jwt_supported_algs is {:?}",
                config.jwt_supported_algs
            )));
        }
        let keys = self.signing_keys(config, token.key_id()).await?;
        token.verify(keys.iter()).map(Claims::new).map_err(refused)
    }

    /// May a token of this method be renewed? The role must still be there; its times count.
    pub async fn renew(&self, grant: Grant) -> Result<Grant, Error> {
        let name = grant.internal.get("role").and_then(Value::as_str).unwrap_or_default();
        let Some((role, _)) = self.role(name).await? else {
            return Err(Error::Invalid(format!("role {name:?} does not exist during renewal")));
        };
        Ok(role.token.limit(grant))
    }
}

fn granted(name: &str, role: &Role, person: Person) -> Response {
    let mut metadata = person.metadata;
    metadata.insert("role".to_owned(), name.to_owned());
    let grant = role.token.grant(Grant {
        alias: person.user.clone(),
        alias_metadata: metadata.clone(),
        groups: person.groups,
        display_name: person.user,
        metadata,
        internal: Map::from_iter([("role".to_owned(), Value::from(name))]),
        ..Grant::default()
    });
    Response { grant: Some(grant), ..Response::default() }
}
