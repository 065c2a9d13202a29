//! `oidc/introspect`: is an identity token good now?

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use holdfast_logical::{Error, Fields, Raw, Response};
use serde::Deserialize;
use serde_json::json;

use crate::Identity;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Body {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
}

impl Identity {
    /// Bare JSON: `{active}` and, if it is not, why. 200 either way.
    pub(crate) async fn introspect(&self, fields: &Fields) -> Result<Response, Error> {
        let token = fields.string("token").unwrap_or_default();
        let body = match self.is_active(token, fields.string("client_id").unwrap_or_default()).await? {
            Ok(()) => json!({ "active": true }),
            Err(reason) => json!({ "active": false, "error": reason }),
        };
        let raw = Raw { content_type: "application/json".to_owned(), body: body.to_string().into_bytes() };
        Ok(Response { raw: Some(raw), ..Response::default() })
    }

    /// The error within is why it is not.
    async fn is_active(&self, token: &str, client_id: &str) -> Result<Result<(), &'static str>, Error> {
        let Some((header, body, signed, signature)) = parsed(token) else { return Ok(Err("malformed token")) };
        let now = self.now();
        let keys = self.oidc_keys().await?;
        let public = keys.iter().flat_map(|key| &key.ring).find(|public| public.kid == header.kid);
        let good = public.is_some_and(|public| {
            public.algorithm.name() == header.alg
                && public.expires.is_none_or(|expires| expires > now)
                && public.algorithm.verifies(&public.bytes, signed.as_bytes(), &signature)
        });
        if !good {
            return Ok(Err("unable to validate the token signature"));
        }
        if body.iss != self.issuer().await? {
            return Ok(Err("invalid issuer claim"));
        }
        if body.exp <= now.as_second() {
            return Ok(Err("token is expired"));
        }
        if !client_id.is_empty() && body.aud != client_id {
            return Ok(Err("invalid audience claim"));
        }
        Ok(match self.standing(&body.sub).await? {
            None => Err("entity was not found"),
            Some(standing) if standing.entity.disabled => Err("entity is disabled"),
            Some(_) => Ok(()),
        })
    }
}

fn parsed(token: &str) -> Option<(Header, Body, &str, Vec<u8>)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, body) = signed.split_once('.')?;
    let header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
    let body = serde_json::from_slice(&BASE64.decode(body).ok()?).ok()?;
    Some((header, body, signed, BASE64.decode(signature).ok()?))
}
