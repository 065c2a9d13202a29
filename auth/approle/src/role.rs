//! Roles as they are stored, and their index by role id.

use holdfast_base::id;
use holdfast_logical::{Check, Error, Fields, Revision, StoreError, TokenFields, Txn, cidr};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{AppRole, TRIES},
    salt::Purpose,
};

/// As it is stored; times in seconds, 0 is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    /// Never used for another role, also not of the same name.
    pub number: String,
    pub role_id: String,
    pub bind_secret_id: bool,
    pub secret_id_bound_cidrs: Vec<String>,
    pub secret_id_num_uses: u64,
    pub secret_id_ttl: u64,
    pub local_secret_ids: bool,
    pub token: TokenFields,
}

impl Role {
    /// A role that nothing was written to yet.
    fn new(number: String, role_id: String) -> Self {
        Self {
            number,
            role_id,
            bind_secret_id: true,
            secret_id_bound_cidrs: Vec::new(),
            secret_id_num_uses: 0,
            secret_id_ttl: 0,
            local_secret_ids: false,
            token: TokenFields::default(),
        }
    }

    /// Takes over what was sent.
    pub fn set(&mut self, fields: &Fields, created: bool) -> Result<(), Error> {
        match fields.bool("local_secret_ids") {
            Some(local) if created => self.local_secret_ids = local,
            Some(local) if local != self.local_secret_ids => {
                return Err(Error::invalid("local_secret_ids can only be modified during role creation"));
            }
            _ => {}
        }
        if let Some(role_id) = fields.string("role_id") {
            role_id.clone_into(&mut self.role_id);
        }
        if let Some(bind) = fields.bool("bind_secret_id") {
            self.bind_secret_id = bind;
        }
        if let Some(cidrs) = fields.list("secret_id_bound_cidrs").or_else(|| fields.list("bound_cidr_list")) {
            self.secret_id_bound_cidrs = cidrs.into_iter().filter(|cidr| !cidr.is_empty()).collect();
        }
        if let Some(uses) = fields.int("secret_id_num_uses") {
            self.secret_id_num_uses =
                u64::try_from(uses).map_err(|_| Error::invalid("secret_id_num_uses cannot be negative"))?;
        }
        if let Some(ttl) = fields.duration("secret_id_ttl") {
            self.secret_id_ttl = ttl.as_secs();
        }
        self.token.set(fields)
    }

    /// Sets a field back to what it is when it was never written.
    pub fn reset(&mut self, name: &str) {
        match name {
            "bind_secret_id" => self.bind_secret_id = true,
            "secret_id_bound_cidrs" => self.secret_id_bound_cidrs = Vec::new(),
            "secret_id_num_uses" => self.secret_id_num_uses = 0,
            "secret_id_ttl" => self.secret_id_ttl = 0,
            name => self.token.reset(name),
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.role_id.is_empty() {
            return Err(Error::invalid("invalid role_id supplied, or failed to generate a role_id"));
        }
        cidr::check(&self.secret_id_bound_cidrs)?;
        if !self.bind_secret_id && self.secret_id_bound_cidrs.is_empty() && self.token.bound_cidrs.is_empty() {
            return Err(Error::invalid("at least one constraint should be enabled on the role"));
        }
        Ok(())
    }
}

/// A 404 that names the role.
pub(crate) fn no_role(name: &str) -> Error {
    Error::NotFound(Some(format!("role {name:?} does not exist")))
}

impl AppRole {
    /// A role and its revision.
    pub async fn role(&self, name: &str) -> Result<Option<(Role, Revision)>, Error> {
        Ok(self.services.view.get_json(&format!("role/{name}")).await?)
    }

    /// The role that a role id belongs to: its name, itself, its revision.
    pub async fn role_by_id(&self, role_id: &str) -> Result<Option<(String, Role, Revision)>, Error> {
        let hash = self.salt.hash(Purpose::RoleId, role_id, &self.services).await?;
        let Some((name, _)) = self.services.view.get_json::<String>(&format!("role-id/{hash}")).await? else {
            return Ok(None);
        };
        // Between the two reads the role may have got another role id.
        let role = self.role(&name).await?.filter(|(role, _)| role.role_id == role_id);
        Ok(role.map(|(role, revision)| (name, role, revision)))
    }

    /// Changes a role, makes it if `create`; runs `change` again when somebody else was faster. `change` is told
    /// whether the role is new.
    pub async fn change_role(
        &self,
        name: &str,
        create: bool,
        change: impl Fn(&mut Role, bool) -> Result<(), Error>,
    ) -> Result<Role, Error> {
        let view = &self.services.view;
        for _ in 0..TRIES {
            let stored = self.role(name).await?;
            let (mut role, before, check) = match stored {
                Some((role, revision)) => (role.clone(), Some(role), Check::At(revision)),
                None if !create => return Err(no_role(name)),
                None => {
                    let entropy = self.services.entropy.as_ref();
                    (Role::new(id::uuid(entropy), id::uuid(entropy)), None, Check::Absent)
                }
            };
            change(&mut role, before.is_none())?;
            role.check()?;
            let path = view.path(&format!("role/{name}"));
            let mut txn = Txn::new();
            txn.check(path.clone(), check).put_json(path, &role)?;
            if before.as_ref().is_none_or(|before| before.role_id != role.role_id) {
                let taken = self.index(&role.role_id).await?;
                if view.get(&taken).await?.is_some() {
                    return Err(Error::invalid("role_id already in use"));
                }
                txn.check(view.path(&taken), Check::Absent).put_json(view.path(&taken), &name)?;
                if let Some(before) = before {
                    txn.delete(view.path(&self.index(&before.role_id).await?));
                }
            }
            match view.commit(txn).await {
                Ok(_) => return Ok(role),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Removes a role with its index and its secret ids.
    pub async fn remove_role(&self, name: &str) -> Result<(), Error> {
        let view = &self.services.view;
        for _ in 0..TRIES {
            let Some((role, revision)) = self.role(name).await? else { return Ok(()) };
            let path = view.path(&format!("role/{name}"));
            let mut txn = Txn::new();
            txn.check(path.clone(), Check::At(revision)).delete(path);
            txn.delete(view.path(&self.index(&role.role_id).await?));
            match view.commit(txn).await {
                // Nothing finds its secret ids from here on; if this is interrupted, tidy removes the rest.
                Ok(_) => return crate::tidy::purge(&self.services, &role.number).await,
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn index(&self, role_id: &str) -> Result<String, Error> {
        Ok(format!("role-id/{}", self.salt.hash(Purpose::RoleId, role_id, &self.services).await?))
    }
}
