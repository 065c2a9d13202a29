//! `login`, and the renewal of the tokens it gave.

use std::collections::BTreeMap;

use holdfast_logical::{Error, Fields, Grant, Response, fold};
use serde_json::{Map, Value};

use crate::{
    claims::Claims,
    config::{Cluster, Config},
    engine::Kubernetes,
    role::Role,
};

impl Kubernetes {
    pub async fn login(&self, fields: &Fields) -> Result<Response, Error> {
        let token = fields.required("jwt")?.trim();
        let (name, role) = self.resolve(fields.string("role").unwrap_or_default(), token).await?;
        let config = self.config().await?;
        let cluster = self.cluster(&config).await?;
        let claims = self.keys.verify(token, &config, &cluster, &self.api).await?;
        self.check(&role, &claims, &config)?;
        self.review(&role, &claims, token, &cluster).await?;

        let mut grant = role.grant(&claims);
        grant.metadata = metadata(&name, &claims);
        grant.internal = Map::from_iter([
            ("role".to_owned(), Value::String(name)),
            ("namespace".to_owned(), Value::String(claims.namespace)),
            ("account".to_owned(), Value::String(claims.account)),
        ]);
        Ok(Response { grant: Some(grant), ..Response::default() })
    }

    /// The role that a login means: the one that is named; the one that the operator made for a policy of that name in
    /// the token's namespace; without a name, the one that it made for the account. The token is not verified yet; a
    /// wrong one is refused afterwards, whatever role it chose.
    async fn resolve(&self, name: &str, token: &str) -> Result<(String, Role), Error> {
        let name = fold(name);
        if !name.is_empty()
            && let Some(role) = self.role(&name).await?
        {
            return Ok((name, role));
        }
        let made = Claims::peek(token).map(|claims| match name.as_str() {
            "" => format!("k8s:{}:sa:{}", claims.namespace, claims.account),
            name => format!("k8s:{}:policy:{name}", claims.namespace),
        });
        if let Some(made) = made.map(|made| fold(&made)).filter(|made| !made.contains('/')) {
            if let Some(role) = self.role(&made).await? {
                return Ok((made, role));
            }
            if name.is_empty() {
                return Err(Error::Invalid(format!(
                    "missing role: none was given, and the account has none ({made:?}); no VaultPolicy that is Ready names \
                     it as a subject"
                )));
            }
        }
        Err(if name.is_empty() {
            Error::invalid("missing role")
        } else {
            Error::Invalid(format!("invalid role name {name:?}"))
        })
    }

    fn check(&self, role: &Role, claims: &Claims, config: &Config) -> Result<(), Error> {
        if let Some(reason) = claims.time_error(self.services.clock.now()) {
            return Err(Error::Denied(format!("the service account token was refused: {reason}")));
        }
        if !config.disable_iss_validation && !config.issuer.is_empty() && claims.issuer != config.issuer {
            return Err(Error::Denied(format!(
                "invalid issuer: the token is from {:?}, the configuration expects {:?}",
                claims.issuer, config.issuer
            )));
        }
        if !role.audience.is_empty() && !claims.audiences.contains(&role.audience) {
            return Err(Error::Denied(format!(
                "invalid audience (aud) claim: the token is for {:?}, the role expects {:?}",
                claims.audiences, role.audience
            )));
        }
        role.refuses(&claims.namespace, &claims.account).map_or(Ok(()), |reason| Err(Error::Denied(reason)))
    }

    /// Asks the API server, where the role wants it, whether the token is still good.
    async fn review(&self, role: &Role, claims: &Claims, token: &str, cluster: &Cluster) -> Result<(), Error> {
        // A review that the role leaves to the server must not be left out because a file is gone for a moment.
        if let Some(reason) = cluster.unread.as_ref().filter(|_| role.token_review != Some(false)) {
            return Err(Error::Unavailable(format!(
                "the server's own ServiceAccount token for the TokenReview cannot be read: {reason}"
            )));
        }
        // Without a reviewer the token may speak for itself, if its account is allowed to.
        let reviewer = if cluster.token.is_empty() { token } else { &cluster.token };
        let wanted = role.token_review.unwrap_or(!cluster.token.is_empty());
        if !wanted {
            if claims.endless() {
                return Err(Error::Denied(
                    "the service account token was refused: it has no end, so the role must have token_review"
                        .to_owned(),
                ));
            }
            return Ok(());
        }
        let audiences = if role.audience.is_empty() { claims.audiences.clone() } else { vec![role.audience.clone()] };
        let review = self.api.review(cluster, reviewer, token, &audiences).await?;
        let refused =
            |reason: &str| Error::Denied(format!("the service account token was refused by the cluster: {reason}"));
        if !review.authenticated {
            return Err(refused(if review.error.is_empty() { "it is not authenticated" } else { &review.error }));
        }
        if review.user.username != format!("system:serviceaccount:{}:{}", claims.namespace, claims.account)
            || review.user.uid != claims.account_uid
        {
            return Err(refused("it belongs to another account"));
        }
        // None at all: the API server knows nothing of audiences and has checked none.
        if !role.audience.is_empty() && !review.audiences.contains(&role.audience) {
            return Err(refused("it is for another audience"));
        }
        Ok(())
    }

    /// May a token of this method be renewed? The role must still be there and take the account.
    pub async fn renew(&self, grant: Grant) -> Result<Grant, Error> {
        let fact = |name: &str| grant.internal.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = fact("role");
        let Some(role) = self.role(name).await? else {
            return Err(Error::Invalid(format!("role {name:?} does not exist during renewal")));
        };
        if let Some(reason) = role.refuses(fact("namespace"), fact("account")) {
            return Err(Error::Denied(reason));
        }
        Ok(role.token.limit(grant))
    }
}

fn metadata(role: &str, claims: &Claims) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::from([
        ("role".to_owned(), role.to_owned()),
        ("service_account_name".to_owned(), claims.account.clone()),
        ("service_account_namespace".to_owned(), claims.namespace.clone()),
        ("service_account_secret_name".to_owned(), claims.secret.clone()),
        ("service_account_uid".to_owned(), claims.account_uid.clone()),
    ]);
    if let Some(pod) = &claims.pod {
        metadata.insert("pod_name".to_owned(), pod.name.clone());
        metadata.insert("pod_uid".to_owned(), pod.uid.clone());
    }
    metadata
}
