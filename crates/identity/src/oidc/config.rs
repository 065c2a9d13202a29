//! `oidc/config`: who issues.

use holdfast_logical::{Error, Fields, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Identity;

/// As it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Config {
    /// `https://host:port`, or empty for the server's own address.
    pub issuer: String,
}

const PATH: &str = "oidc/config";

const SET: &str = "If \"issuer\" is set explicitly, all tokens must be validated against that address, including those \
                   issued by secondary clusters. Setting issuer to \"\" will restore the default behavior of using the \
                   cluster's api_addr as the issuer.";

impl Identity {
    pub(crate) async fn read_oidc_config(&self) -> Result<Response, Error> {
        Ok(Response::data(json!({ "issuer": self.oidc_config().await?.issuer })))
    }

    pub(crate) async fn write_oidc_config(&self, fields: &Fields) -> Result<Response, Error> {
        let Some(issuer) = fields.string("issuer") else { return Ok(Response::empty()) };
        let issuer = issuer.trim_end_matches('/');
        if !issuer.is_empty() && !is_origin(issuer) {
            return Err(Error::invalid(
                "invalid issuer, which must include only a scheme, host, and optional port (e.g. https://example.com:8200)",
            ));
        }
        self.view().put_json(PATH, &Config { issuer: issuer.to_owned() }).await?;
        Ok(if issuer.is_empty() { Response::empty() } else { Response::empty().warn(SET) })
    }

    async fn oidc_config(&self) -> Result<Config, Error> {
        Ok(self.view().get_json(PATH).await?.map(|(config, _)| config).unwrap_or_default())
    }

    /// `iss` of tokens: where their public keys are found.
    pub(super) async fn issuer(&self) -> Result<String, Error> {
        let issuer = self.oidc_config().await?.issuer;
        let origin = if issuer.is_empty() { self.parts.api_addr.trim_end_matches('/') } else { &issuer };
        Ok(format!("{origin}/v1/{}oidc", self.parts.path))
    }
}

/// Scheme, host and port, and nothing else?
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
    matches!(scheme, "http" | "https") && !host.is_empty() && !host.starts_with(':') && host.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_origin() {
        for good in ["https://a.example:8200", "http://127.0.0.1:8200", "https://[::1]:8200"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["a.example", "https://", "ftp://a", "https://a/b", "https://a?b", "https://a#b", "https://u@a"] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
