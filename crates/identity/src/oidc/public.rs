//! What anybody may read: where the keys are, and the keys (OpenID Connect Discovery 1.0).

use std::time::Duration;

use holdfast_logical::{Error, Raw, Response};
use serde_json::{Value, json};

use super::signing::Algorithm;
use crate::Identity;

/// How long the discovery document may be kept.
const DISCOVERY: Duration = Duration::from_secs(3600);

impl Identity {
    pub(crate) async fn openid_configuration(&self) -> Result<Response, Error> {
        let issuer = self.issuer().await?;
        let body = json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/keys"),
            "id_token_signing_alg_values_supported": Algorithm::names(),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
        });
        Ok(bare(&body, DISCOVERY))
    }

    /// A JWK Set (RFC 7517) of everything that verifies now, to be kept until the next rotation.
    pub(crate) async fn public_keys(&self) -> Result<Response, Error> {
        let now = self.now();
        let keys = self.oidc_keys().await?;
        let ring = keys.iter().flat_map(|key| &key.ring);
        let live = ring.filter(|public| public.expires.is_none_or(|expires| expires > now));
        let jwks: Vec<Value> = live.filter_map(|public| public.algorithm.jwk(&public.kid, &public.bytes)).collect();
        let until =
            keys.iter().map(|key| Duration::try_from(key.next_rotation.duration_since(now)).unwrap_or_default());
        Ok(bare(&json!({ "keys": jwks }), until.min().unwrap_or(DISCOVERY).min(DISCOVERY)))
    }
}

fn bare(body: &Value, max_age: Duration) -> Response {
    let raw = Raw { content_type: "application/json".to_owned(), body: body.to_string().into_bytes() };
    Response { raw: Some(raw), max_age: Some(max_age), ..Response::default() }
}
