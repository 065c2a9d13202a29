//! Secret ids as they are stored: by keyed hash, with an index by accessor.

use std::{collections::BTreeMap, time::Duration};

use holdfast_base::id;
use holdfast_logical::{Check, Error, Fields, Revision, StoreError, Timestamp, Txn, cidr};
use holdfast_secret::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    engine::{AppRole, TRIES},
    metadata,
    role::{Role, no_role},
    salt::Purpose,
};

/// As it is stored; the secret id itself is not in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SecretId {
    pub accessor: String,
    /// Uses that are left; 0: unlimited.
    pub num_uses: u64,
    /// Seconds; 0: no end.
    pub ttl: u64,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub expires: Option<Timestamp>,
    pub metadata: BTreeMap<String, String>,
    pub cidr_list: Vec<String>,
    pub token_bound_cidrs: Vec<String>,
}

/// Where a secret id is, and its record.
pub(crate) struct Found {
    pub number: String,
    pub hash: String,
    pub record: SecretId,
    pub revision: Revision,
}

impl SecretId {
    /// What a request asks for, within what the role allows.
    fn wanted(role_name: &str, role: &Role, fields: &Fields, max: Duration, now: Timestamp) -> Result<Self, Error> {
        let cidrs = |name: &str| -> Result<Vec<String>, Error> {
            let list = fields.list(name).unwrap_or_default();
            let list: Vec<_> = list.into_iter().filter(|cidr| !cidr.is_empty()).collect();
            cidr::check(&list).map(|()| list)
        };
        let num_uses = match fields.int("num_uses") {
            None => role.secret_id_num_uses,
            Some(uses) => {
                let uses = u64::try_from(uses).map_err(|_| Error::invalid("num_uses cannot be negative"))?;
                let limit = role.secret_id_num_uses;
                if limit > 0 && (uses == 0 || uses > limit) {
                    return Err(Error::invalid("num_uses cannot be higher than the role's secret_id_num_uses"));
                }
                uses
            }
        };
        let ttl = match fields.duration("ttl").map(|ttl| ttl.as_secs()) {
            None => role.secret_id_ttl,
            Some(ttl) => {
                let limit = role.secret_id_ttl;
                if limit > 0 && (ttl == 0 || ttl > limit) {
                    return Err(Error::invalid("ttl cannot be longer than the role's secret_id_ttl"));
                }
                ttl
            }
        };
        let ttl = ttl.min(max.as_secs());
        let wanted = Self {
            accessor: String::new(),
            num_uses,
            ttl,
            created: now,
            updated: now,
            expires: (ttl > 0).then(|| now.saturating_add(Duration::from_secs(ttl)).ok()).flatten(),
            metadata: metadata::parse(fields.get("metadata"))?,
            cidr_list: cidrs("cidr_list")?,
            token_bound_cidrs: cidrs("token_bound_cidrs")?,
        };
        wanted.within(role_name, role).map(|()| wanted)
    }

    /// Lie its networks within those of the role?
    pub fn within(&self, role_name: &str, role: &Role) -> Result<(), Error> {
        for (inner, outer) in
            [(&self.cidr_list, &role.secret_id_bound_cidrs), (&self.token_bound_cidrs, &role.token.bound_cidrs)]
        {
            if !cidr::within(inner, outer) {
                return Err(Error::Invalid(format!(
                    "failed to verify subset relationship between CIDR blocks on the role {outer:?} and CIDR blocks \
                     on the secret ID {inner:?} (role {role_name:?})"
                )));
            }
        }
        Ok(())
    }

    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// As lookups answer it.
    pub fn shown(&self) -> Value {
        json!({
            "secret_id_accessor": self.accessor,
            "secret_id_num_uses": self.num_uses,
            "secret_id_ttl": self.ttl,
            "creation_time": self.created.to_string(),
            "expiration_time": self.expires.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |end| end.to_string()),
            "last_updated_time": self.updated.to_string(),
            "metadata": self.metadata,
            "cidr_list": self.cidr_list,
            "token_bound_cidrs": self.token_bound_cidrs,
        })
    }
}

impl AppRole {
    /// Makes a secret id for a role: a new one, or the `custom` one that was sent.
    pub async fn make_secret_id(
        &self,
        name: &str,
        fields: &Fields,
        custom: Option<&str>,
    ) -> Result<(SecretString, SecretId), Error> {
        let (view, entropy) = (&self.services.view, self.services.entropy.as_ref());
        let max = self.mount.read().max_ttl;
        for _ in 0..TRIES {
            let (role, revision) = self.role(name).await?.ok_or_else(|| no_role(name))?;
            if !role.bind_secret_id {
                return Err(Error::invalid("bind_secret_id is not set on the role"));
            }
            let secret_id = SecretString::new(custom.map_or_else(|| id::uuid(entropy), str::to_owned));
            let mut record = SecretId::wanted(name, &role, fields, max, self.services.clock.now())?;
            record.accessor = id::uuid(entropy);
            let hash = self.salt.hash(Purpose::SecretId, secret_id.expose(), &self.services).await?;
            let path = secret_path(&role.number, &hash);
            if let Some((old, at)) = view.get_json::<SecretId>(&path).await? {
                if !old.expired(self.services.clock.now()) {
                    return Err(Error::invalid("SecretID is already registered"));
                }
                self.remove_secret_id(&Found { number: role.number.clone(), hash, record: old, revision: at }).await?;
                continue;
            }
            let accessor = accessor_path(&role.number, &record.accessor);
            let mut txn = Txn::new();
            txn.check(view.path(&format!("role/{name}")), Check::At(revision));
            txn.check(view.path(&path), Check::Absent).put_json(view.path(&path), &record)?;
            txn.check(view.path(&accessor), Check::Absent).put_json(view.path(&accessor), &hash)?;
            match view.commit(txn).await {
                Ok(_) => return Ok((secret_id, record)),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// A secret id of a role, also an expired one.
    pub async fn secret_id(&self, role: &Role, secret_id: &str) -> Result<Option<Found>, Error> {
        let hash = self.salt.hash(Purpose::SecretId, secret_id, &self.services).await?;
        self.found(role, hash).await
    }

    /// A secret id of a role by its accessor, also an expired one.
    pub async fn secret_id_by_accessor(&self, role: &Role, accessor: &str) -> Result<Option<Found>, Error> {
        if accessor.contains('/') {
            return Ok(None);
        }
        let path = accessor_path(&role.number, accessor);
        match self.services.view.get_json::<String>(&path).await? {
            Some((hash, _)) => self.found(role, hash).await,
            None => Ok(None),
        }
    }

    async fn found(&self, role: &Role, hash: String) -> Result<Option<Found>, Error> {
        let stored = self.services.view.get_json(&secret_path(&role.number, &hash)).await?;
        Ok(stored.map(|(record, revision)| Found { number: role.number.clone(), hash, record, revision }))
    }

    /// Removes a secret id with its accessor; somebody else may have been faster.
    pub async fn remove_secret_id(&self, found: &Found) -> Result<(), Error> {
        let mut txn = Txn::new();
        self.removal(found, &mut txn);
        match self.services.view.commit(txn).await {
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds the removal of a secret id as it was read.
    pub fn removal(&self, found: &Found, txn: &mut Txn) {
        let view = &self.services.view;
        let path = view.path(&secret_path(&found.number, &found.hash));
        txn.check(path.clone(), Check::At(found.revision)).delete(path);
        txn.delete(view.path(&accessor_path(&found.number, &found.record.accessor)));
    }

    /// Adds one use of a secret id as it was read; the last one removes it.
    pub fn use_once(&self, found: &Found, txn: &mut Txn) -> Result<(), StoreError> {
        match found.record.num_uses {
            0 => {}
            1 => self.removal(found, txn),
            left => {
                let path = self.services.view.path(&secret_path(&found.number, &found.hash));
                let record =
                    SecretId { num_uses: left - 1, updated: self.services.clock.now(), ..found.record.clone() };
                txn.check(path.clone(), Check::At(found.revision)).put_json(path, &record)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn secret_path(number: &str, hash: &str) -> String {
    format!("secret/{number}/{hash}")
}

pub(crate) fn accessor_path(number: &str, accessor: &str) -> String {
    format!("accessor/{number}/{accessor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_show_no_end_as_clients_expect_it() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let record = SecretId {
            accessor: "a".into(),
            num_uses: 0,
            ttl: 0,
            created: now,
            updated: now,
            expires: None,
            metadata: BTreeMap::new(),
            cidr_list: Vec::new(),
            token_bound_cidrs: Vec::new(),
        };
        assert_eq!(record.shown()["expiration_time"], "0001-01-01T00:00:00Z");
        assert_eq!(record.shown()["creation_time"], "2023-11-14T22:13:20Z");
        assert!(!record.expired(now));
        assert!(SecretId { expires: Some(now), ..record }.expired(now));
    }
}
