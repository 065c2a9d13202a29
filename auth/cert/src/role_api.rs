//! `certs/`.

use std::sync::Arc;

use holdfast_logical::{Check, Error, Fields, Response, Revision, StoreError, Txn};
use serde_json::{Value, json};

use crate::{certificate::Certificate, engine::Certs, role::Role};

/// Tries of a change that meets others.
const TRIES: u32 = 32;

/// A role with its certificates read.
pub(crate) struct Trust {
    pub name: String,
    pub role: Role,
    pub certificates: Vec<Certificate>,
}

impl Trust {
    /// Does it trust what its certificates issued, and not the certificates themselves?
    pub fn is_ca(&self) -> bool {
        self.certificates.first().is_some_and(|first| first.is_ca)
    }
}

impl Certs {
    async fn role(&self, name: &str) -> Result<Option<(Role, Revision)>, Error> {
        Ok(self.services.view.get_json(&format!("cert/{name}")).await?)
    }

    /// Is there a role of this name?
    pub async fn has_role(&self, name: &str) -> Result<bool, Error> {
        Ok(self.role(name).await?.is_some())
    }

    /// A role with its certificates, read anew when it was changed.
    pub async fn trust(&self, name: &str) -> Result<Option<Arc<Trust>>, Error> {
        let Some((role, revision)) = self.role(name).await? else { return Ok(None) };
        if let Some((of, trust)) = self.trusts.lock().get(name)
            && *of == revision
        {
            return Ok(Some(trust.clone()));
        }
        let trust = Arc::new(Trust { name: name.to_owned(), certificates: role.certificates()?, role });
        self.trusts.lock().insert(name.to_owned(), (revision, trust.clone()));
        Ok(Some(trust))
    }

    /// The role of this name, or all if it is empty.
    pub async fn trusts(&self, name: &str) -> Result<Vec<Arc<Trust>>, Error> {
        if !name.is_empty() {
            return Ok(self.trust(name).await?.into_iter().collect());
        }
        let mut trusts = Vec::new();
        for name in self.services.view.list("cert/", "", 0).await? {
            trusts.extend(self.trust(&name).await?);
        }
        Ok(trusts)
    }

    pub async fn read_role(&self, name: &str) -> Result<Response, Error> {
        let (role, _) = self.role(name).await?.ok_or_else(Error::not_found)?;
        let list = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
        let mut data = json!({
            "certificate": role.certificate,
            "display_name": role.display_name,
            "allowed_names": list(&role.allowed_names),
            "allowed_common_names": list(&role.allowed_common_names),
            "allowed_dns_sans": list(&role.allowed_dns_sans),
            "allowed_email_sans": list(&role.allowed_email_sans),
            "allowed_uri_sans": list(&role.allowed_uri_sans),
            "allowed_organizational_units": list(&role.allowed_organizational_units),
            "required_extensions": list(&role.required_extensions),
            "allowed_metadata_extensions": list(&role.allowed_metadata_extensions),
            "ocsp_enabled": role.ocsp.enabled,
            "ocsp_ca_certificates": role.ocsp.ca_certificates,
            "ocsp_servers_override": list(&role.ocsp.servers),
            "ocsp_fail_open": role.ocsp.fail_open,
            "ocsp_query_all_servers": role.ocsp.query_all,
            "ocsp_this_update_max_age": role.ocsp.max_age,
            "ocsp_max_retries": role.ocsp.retries,
        });
        if let Value::Object(data) = &mut data {
            role.token.show(data);
        }
        Ok(Response::data(data))
    }

    pub async fn delete_role(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("cert/{name}")).await?;
        self.trusts.lock().remove(name);
        Ok(Response::empty())
    }

    pub async fn write_role(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let path = self.services.view.path(&format!("cert/{name}"));
        for _ in 0..TRIES {
            let stored = self.role(name).await?;
            let check = stored.as_ref().map_or(Check::Absent, |(_, revision)| Check::At(*revision));
            let mut role = stored.map(|(role, _)| role).unwrap_or_default();
            role.set(name, fields)?;
            let mut txn = Txn::new();
            txn.check(path.clone(), check).put_json(path.clone(), &role)?;
            match self.services.view.commit(txn).await {
                Ok(_) => return Ok(Response::empty()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}
