//! `config`: whose tokens are taken.

use holdfast_jose::Key;
use holdfast_logical::{Error, Fields, Response, fold};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::Jwt;

/// What can be asked for; all are public key algorithms.
pub(crate) const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// As it is stored.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub oidc_discovery_url: String,
    pub oidc_discovery_ca_pem: String,
    pub jwks_url: String,
    pub jwks_ca_pem: String,
    pub jwt_validation_pubkeys: Vec<String>,
    pub bound_issuer: String,
    pub jwt_supported_algs: Vec<String>,
    pub default_role: String,
    pub oidc_client_id: String,
    pub oidc_client_secret: String,
    pub oidc_response_mode: String,
    pub oidc_response_types: Vec<String>,
    pub provider_config: Map<String, Value>,
    pub namespace_in_state: bool,
}

impl Config {
    /// A configuration is replaced as a whole, except for the secret, which clients cannot read back.
    fn of(fields: &Fields, before: Option<&Self>) -> Self {
        let text = |name: &str| fields.string(name).unwrap_or_default().trim().to_owned();
        let list = |name: &str| -> Vec<String> {
            fields.list(name).unwrap_or_default().into_iter().filter(|item| !item.is_empty()).collect()
        };
        let oidc_client_id = text("oidc_client_id");
        let kept = before.filter(|before| !oidc_client_id.is_empty() && before.oidc_client_id == oidc_client_id);
        let oidc_client_secret = match (fields.string("oidc_client_secret"), kept) {
            (None, Some(before)) => before.oidc_client_secret.clone(),
            (secret, _) => secret.unwrap_or_default().to_owned(),
        };
        Self {
            oidc_discovery_url: text("oidc_discovery_url"),
            oidc_discovery_ca_pem: text("oidc_discovery_ca_pem"),
            jwks_url: text("jwks_url"),
            jwks_ca_pem: text("jwks_ca_pem"),
            jwt_validation_pubkeys: list("jwt_validation_pubkeys"),
            bound_issuer: text("bound_issuer"),
            jwt_supported_algs: list("jwt_supported_algs"),
            default_role: fold(&text("default_role")),
            oidc_client_id,
            oidc_client_secret,
            oidc_response_mode: text("oidc_response_mode"),
            oidc_response_types: list("oidc_response_types"),
            provider_config: fields.get("provider_config").and_then(Value::as_object).cloned().unwrap_or_default(),
            namespace_in_state: fields.bool("namespace_in_state").unwrap_or(true),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let sources =
            [!self.oidc_discovery_url.is_empty(), !self.jwks_url.is_empty(), !self.jwt_validation_pubkeys.is_empty()];
        if sources.iter().filter(|given| **given).count() != 1 {
            return Err(Error::invalid(
                "exactly one of 'jwt_validation_pubkeys', 'jwks_url' or 'oidc_discovery_url' must be set",
            ));
        }
        if self.oidc_client_id.is_empty() != self.oidc_client_secret.is_empty() {
            return Err(Error::invalid("both 'oidc_client_id' and 'oidc_client_secret' must be set for OIDC"));
        }
        if !self.oidc_client_id.is_empty() && self.oidc_discovery_url.is_empty() {
            return Err(Error::invalid("'oidc_discovery_url' must be set for OIDC"));
        }
        for pem in &self.jwt_validation_pubkeys {
            Key::from_pem(pem).ok_or_else(|| {
                Error::invalid("error parsing public key: jwt_validation_pubkeys takes RSA, EC and Ed25519 keys in PEM")
            })?;
        }
        for name in &self.jwt_supported_algs {
            if !ALGORITHMS.contains(&name.as_str()) {
                return Err(Error::Invalid(format!("unsupported signing algorithm {name:?}: use {ALGORITHMS:?}")));
            }
        }
        self.check_browser()
    }

    fn check_browser(&self) -> Result<(), Error> {
        if !matches!(self.oidc_response_mode.as_str(), "" | "query" | "form_post") {
            return Err(Error::Invalid(format!("invalid response_mode: {:?}", self.oidc_response_mode)));
        }
        if self.oidc_response_types.iter().any(|kind| !matches!(kind.as_str(), "code" | "id_token")) {
            return Err(Error::Invalid(format!(
                "invalid response_types {:?}. 'code' and 'id_token' are allowed",
                self.oidc_response_types
            )));
        }
        match self.provider_config.get("provider") {
            None if self.provider_config.is_empty() => Ok(()),
            Some(provider) => Err(Error::Invalid(format!("provider_config: provider {provider} is not supported"))),
            None => Err(Error::invalid("provider_config: \"provider\" is missing")),
        }
    }
}

impl Jwt {
    /// The configuration, if one was written.
    pub async fn config(&self) -> Result<Option<Config>, Error> {
        Ok(self.services.view.get_json("config").await?.map(|(config, _)| config))
    }

    pub async fn read_config(&self) -> Result<Response, Error> {
        let config = self.config().await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(json!({
            "oidc_discovery_url": config.oidc_discovery_url,
            "oidc_discovery_ca_pem": config.oidc_discovery_ca_pem,
            "oidc_client_id": config.oidc_client_id,
            "oidc_response_mode": config.oidc_response_mode,
            "oidc_response_types": config.oidc_response_types,
            "default_role": config.default_role,
            "jwt_validation_pubkeys": config.jwt_validation_pubkeys,
            "jwt_supported_algs": config.jwt_supported_algs,
            "jwks_url": config.jwks_url,
            "jwks_ca_pem": config.jwks_ca_pem,
            "bound_issuer": config.bound_issuer,
            "provider_config": config.provider_config,
            "namespace_in_state": config.namespace_in_state,
        })))
    }

    /// Tries what is written: discovery or the key set must answer now.
    pub async fn write_config(&self, fields: &Fields) -> Result<Response, Error> {
        let before = self.config().await?;
        let config = Config::of(fields, before.as_ref());
        config.check()?;
        self.probe(&config).await?;
        self.services.view.put_json("config", &config).await?;
        self.keys.forget();
        Ok(Response::empty())
    }
}
