//! Where the keys come from: discovery (OpenID Connect Discovery 1.0 §4), a key set at a URL, or the configuration.

use std::sync::Arc;

use holdfast_fetch::Answer;
use holdfast_jose::{Key, KeySet, Unfetched};
use holdfast_logical::Error;
use serde::Deserialize;

use crate::{config::Config, engine::Jwt};

const JSON: &str = "application/json, application/jwk-set+json";

/// What is needed of a discovery document.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Jwt {
    /// Fetches once what logins will need; a 400 says what is wrong.
    pub async fn probe(&self, config: &Config) -> Result<(), Error> {
        let (what, outcome) = if !config.oidc_discovery_url.is_empty() {
            ("oidc discovery", self.discover(config).await.map(|_| ()))
        } else if !config.jwks_url.is_empty() {
            ("jwks", self.key_set(&config.jwks_ca_pem, &config.jwks_url).await.map(|_| ()))
        } else {
            return Ok(());
        };
        outcome.map_err(|reason| Error::Invalid(format!("error checking {what} URL: {reason}")))
    }

    /// The keys that a token with this key id is checked with.
    pub async fn signing_keys(&self, config: &Config, id: Option<&str>) -> Result<Arc<KeySet>, Error> {
        if !config.jwt_validation_pubkeys.is_empty() {
            let keys: Vec<Key> = config.jwt_validation_pubkeys.iter().filter_map(|pem| Key::from_pem(pem)).collect();
            return Ok(Arc::new(KeySet::from(keys)));
        }
        let (url, ca) = match config.oidc_discovery_url.as_str() {
            "" => (&config.jwks_url, &config.jwks_ca_pem),
            url => (&url.to_owned(), &config.oidc_discovery_ca_pem),
        };
        let source = format!("{url}\n{ca}");
        let keys = self.keys.keys(&source, id, self.fetched(config)).await;
        keys.map_err(|unfetched| match unfetched {
            Unfetched::Failed(reason) => Error::Unavailable(format!("the issuer's keys are not known: {reason}")),
            Unfetched::Paused => {
                Error::Unavailable(format!("the issuer's keys are not known: {url} did not answer a moment ago"))
            }
        })
    }

    async fn fetched(&self, config: &Config) -> Result<KeySet, String> {
        if config.oidc_discovery_url.is_empty() {
            return self.key_set(&config.jwks_ca_pem, &config.jwks_url).await;
        }
        let document = self.discover(config).await?;
        self.key_set(&config.oidc_discovery_ca_pem, &document.jwks_uri).await
    }

    async fn discover(&self, config: &Config) -> Result<Document, String> {
        let issuer = &config.oidc_discovery_url;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = self.answer(&config.oidc_discovery_ca_pem, &url).await?;
        let document: Document =
            serde_json::from_slice(&answer.body).map_err(|_| format!("{url} is no discovery document"))?;
        if document.issuer != *issuer {
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {issuer:?} got {:?}",
                document.issuer
            ));
        }
        // A document that came over TLS must not lead to keys that anybody on the way may change.
        if issuer.starts_with("https://") && !document.jwks_uri.starts_with("https://") {
            return Err(format!("jwks_uri {:?} of the provider is not https", document.jwks_uri));
        }
        Ok(document)
    }

    async fn key_set(&self, ca: &str, url: &str) -> Result<KeySet, String> {
        let answer = self.answer(ca, url).await?;
        KeySet::from_json(&answer.body).ok_or_else(|| format!("{url} is no JWK set"))
    }

    /// A redirect is an answer like any other that is not 200: keys come from the URL that is configured.
    async fn answer(&self, ca: &str, url: &str) -> Result<Answer, String> {
        let answer = self.fetcher.get(ca, url, JSON).await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer) } else { Err(format!("{url} answered with status {}", answer.status)) }
    }
}
