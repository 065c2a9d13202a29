//! `oidc/token/<role>`: an identity token for the caller.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use holdfast_logical::{Caller, Error, Response};
use serde_json::{Value, json};

use super::{claims, key::Key, private_path};
use crate::Identity;

impl Identity {
    pub(crate) async fn oidc_token(&self, role: &str, caller: &Caller) -> Result<Response, Error> {
        let role = self.oidc_role(role).await?.ok_or_else(|| Error::invalid(format!("role {role:?} not found")))?;
        let missing = || Error::invalid(format!("key {:?} not found", role.key));
        let (key, _) = self.oidc_key(&role.key).await?.ok_or_else(missing)?;
        if !key.allows(&role.client_id) {
            return Err(Error::invalid(format!(
                "the key {:?} does not list the client ID of the role {:?} as an allowed client ID",
                role.key, role.name
            )));
        }
        let nobody = || Error::invalid("no entity associated with the request's token");
        if caller.entity_id.is_empty() {
            return Err(nobody());
        }
        let standing = self.standing(&caller.entity_id).await?.ok_or_else(nobody)?;
        // What is signed must be verifiable until it ends.
        let ttl = role.ttl.min(key.verification_ttl);
        let now = self.now();
        let issued = now.as_second();
        let mut body = claims::fill(&role.template, &standing, now)?;
        let own = json!({
            "iss": self.issuer().await?,
            "sub": standing.entity.id,
            "aud": role.client_id,
            "iat": issued,
            "exp": issued.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)),
            "namespace": self.parts.namespace,
        });
        if let Value::Object(own) = own {
            body.extend(own);
        }
        let token = self.sign(&key, &Value::Object(body)).await?;
        Ok(Response::data(json!({ "token": token, "client_id": role.client_id, "ttl": ttl })))
    }

    /// A JWT in compact form (RFC 7515) by the pair that signs now.
    async fn sign(&self, key: &Key, body: &Value) -> Result<String, Error> {
        let lost = || Error::Internal("the private half of the signing key is missing".to_owned());
        let private = self.view().get(&private_path(&key.signing)).await?.ok_or_else(lost)?.value;
        let header = json!({ "alg": key.algorithm.name(), "kid": key.signing, "typ": "JWT" });
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(body.to_string()));
        let (algorithm, message) = (key.algorithm, signed.clone());
        let signature = tokio::task::spawn_blocking(move || algorithm.sign(&private, message.as_bytes())).await;
        let signature = signature.map_err(|_| Error::Internal("signing was interrupted".to_owned()))??;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}
