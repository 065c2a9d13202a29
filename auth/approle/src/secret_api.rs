//! `role/:name/secret-id…`: making, finding and destroying secret ids.

use holdfast_logical::{Error, Fields, Response};
use serde_json::json;

use crate::{
    engine::AppRole,
    role::{Role, no_role},
    secret_id::Found,
};

impl AppRole {
    pub async fn generate(&self, name: &str, fields: &Fields, custom: bool) -> Result<Response, Error> {
        let given = if custom { Some(fields.required("secret_id")?) } else { None };
        let (secret_id, record) = self.make_secret_id(name, fields, given).await?;
        let data = json!({
            "secret_id": secret_id.expose(),
            "secret_id_accessor": record.accessor,
            "secret_id_ttl": record.ttl,
            "secret_id_num_uses": record.num_uses,
        });
        Ok(Response { accessor: Some(record.accessor), ..Response::data(data) })
    }

    pub async fn list_accessors(&self, name: &str) -> Result<Response, Error> {
        let role = self.existing(name).await?;
        Response::keys(self.services.view.list(&format!("accessor/{}/", role.number), "", 0).await?)
    }

    /// What is known of a secret id; 204 when there is none.
    pub async fn lookup(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let secret_id = fields.required("secret_id")?;
        let role = self.existing(name).await?;
        Ok(match self.current(self.secret_id(&role, secret_id).await?) {
            Some(found) => Response::data(found.record.shown()),
            None => Response::empty(),
        })
    }

    pub async fn destroy(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let secret_id = fields.required("secret_id")?;
        let role = self.existing(name).await?;
        // A login that counts down at the same moment moves the record: until it is gone it is read again.
        while let Some(found) = self.secret_id(&role, secret_id).await? {
            self.remove_secret_id(&found).await?;
        }
        Ok(Response::empty())
    }

    /// What is known of a secret id by its accessor; 404 when there is none.
    pub async fn lookup_accessor(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let accessor = fields.required("secret_id_accessor")?;
        let role = self.existing(name).await?;
        let found = self.current(self.secret_id_by_accessor(&role, accessor).await?);
        let found = found.ok_or_else(|| {
            Error::NotFound(Some(format!("failed to find accessor entry for secret_id_accessor: {accessor:?}")))
        })?;
        Ok(Response::data(found.record.shown()))
    }

    /// Destroys a secret id by its accessor; 403 when there is none.
    pub async fn destroy_accessor(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let accessor = fields.required("secret_id_accessor")?;
        let role = self.existing(name).await?;
        let mut there = false;
        while let Some(found) = self.secret_id_by_accessor(&role, accessor).await? {
            there = true;
            self.remove_secret_id(&found).await?;
        }
        if there { Ok(Response::empty()) } else { Err(Error::Denied("permission denied".to_owned())) }
    }

    async fn existing(&self, name: &str) -> Result<Role, Error> {
        self.role(name).await?.map(|(role, _)| role).ok_or_else(|| no_role(name))
    }

    fn current(&self, found: Option<Found>) -> Option<Found> {
        found.filter(|found| !found.record.expired(self.services.clock.now()))
    }
}
