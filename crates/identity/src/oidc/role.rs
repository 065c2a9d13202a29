//! Roles: what the tokens of a role say, and which key signs them.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_base::id;
use holdfast_logical::{Check, Error, Fields, Response, Txn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{claims, key_path, role_path};
use crate::Identity;

/// As it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Role {
    pub name: String,
    pub key: String,
    /// JSON with `{{…}}` in it, or empty.
    pub template: String,
    /// `aud` of tokens.
    pub client_id: String,
    /// Seconds.
    pub ttl: u64,
}

const DAY: u64 = 24 * 3600;

impl Identity {
    pub(crate) async fn write_oidc_role(&self, fields: &Fields) -> Result<Response, Error> {
        let name = fields.required("name")?;
        let found = self.oidc_role(name).await?;
        let fresh = || Role {
            name: name.to_owned(),
            key: String::new(),
            template: String::new(),
            client_id: id::base62(self.parts.entropy.as_ref(), 26),
            ttl: DAY,
        };
        let mut role = found.unwrap_or_else(fresh);
        let text = |field: &str| fields.string(field).filter(|text| !text.is_empty()).map(str::to_owned);
        role.key = text("key").unwrap_or(role.key);
        role.client_id = text("client_id").unwrap_or(role.client_id);
        if let Some(template) = fields.string("template") {
            role.template = decoded(template);
        }
        role.ttl = fields.duration("ttl").map_or(role.ttl, |ttl| ttl.as_secs());
        if role.key.is_empty() {
            return Err(Error::invalid("the key parameter is required"));
        }
        let (key, _) =
            self.oidc_key(&role.key).await?.ok_or_else(|| Error::invalid(format!("cannot find key {:?}", role.key)))?;
        if role.ttl > key.verification_ttl {
            return Err(Error::invalid(
                "a role's token ttl cannot be longer than the verification_ttl of the key it references",
            ));
        }
        claims::check(&role.template)?;
        let mut txn = Txn::new();
        txn.check(self.view().path(&key_path(&role.key)), Check::Exists);
        txn.put_json(self.view().path(&role_path(name)), &role)?;
        self.view().commit(txn).await?;
        Ok(Response::empty())
    }

    pub(super) async fn oidc_role(&self, name: &str) -> Result<Option<Role>, Error> {
        Ok(self.view().get_json(&role_path(name)).await?.map(|(role, _)| role))
    }

    pub(super) async fn oidc_roles(&self) -> Result<Vec<Role>, Error> {
        let names = self.view().list("oidc/role/", "", 0).await?;
        let reads = futures::future::try_join_all(names.iter().map(|name| self.oidc_role(name))).await?;
        Ok(reads.into_iter().flatten().collect())
    }

    pub(crate) async fn read_oidc_role(&self, name: &str) -> Result<Response, Error> {
        let role = self.oidc_role(name).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(json!({
            "client_id": role.client_id,
            "key": role.key,
            "template": role.template,
            "ttl": role.ttl,
        })))
    }

    pub(crate) async fn delete_oidc_role(&self, name: &str) -> Result<Response, Error> {
        self.view().delete(&role_path(name)).await?;
        Ok(Response::empty())
    }

    pub(crate) async fn list_oidc_roles(&self) -> Result<Response, Error> {
        Response::keys(self.view().list("oidc/role/", "", 0).await?)
    }
}

/// The template as it was given, or what its base64 holds.
fn decoded(template: &str) -> String {
    let decoded = STANDARD.decode(template.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| template.to_owned())
}
