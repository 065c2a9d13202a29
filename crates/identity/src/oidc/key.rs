//! Named keys: `oidc/key/<name>`.

use holdfast_logical::{Error, Fields, Response, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{key_path, private_path, signing::Algorithm};
use crate::{
    Identity,
    fault::{Fault, invalid, retried},
};

/// A named key: settings and the public halves of its key pairs. Times in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    pub name: String,
    pub algorithm: Algorithm,
    pub rotation_period: u64,
    pub verification_ttl: u64,
    /// `*` is all.
    pub allowed_client_ids: Vec<String>,
    pub next_rotation: Timestamp,
    /// Signs now.
    pub signing: String,
    /// Published already, signs after the next rotation.
    pub next: String,
    /// All public halves, retired ones included.
    pub ring: Vec<Public>,
}

/// The public half of a key pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Public {
    pub kid: String,
    pub algorithm: Algorithm,
    pub bytes: Vec<u8>,
    /// Retired ones verify until then.
    pub expires: Option<Timestamp>,
}

const DAY: u64 = 24 * 3600;
const MINUTE: u64 = 60;

impl Identity {
    pub(crate) async fn write_oidc_key(&self, fields: &Fields) -> Result<Response, Error> {
        retried(|| self.try_write_oidc_key(fields)).await?;
        Ok(Response::empty())
    }

    async fn try_write_oidc_key(&self, fields: &Fields) -> Result<(), Fault> {
        let name = fields.required("name")?;
        let found = self.oidc_key(name).await?;
        let seconds = |field: &str| fields.duration(field).map(|duration| duration.as_secs());
        let algorithm = fields.string("algorithm").map(Algorithm::parse).transpose()?;
        let (mut key, revision) = match found {
            Some((key, revision)) => (key, Some(revision)),
            None => (Key::new(name, self.now()), None),
        };
        key.rotation_period = seconds("rotation_period").unwrap_or(key.rotation_period);
        key.verification_ttl = seconds("verification_ttl").unwrap_or(key.verification_ttl);
        if let Some(ids) = fields.list("allowed_client_ids") {
            key.allowed_client_ids = ids;
        }
        if key.rotation_period < MINUTE {
            return Err(invalid("rotation_period must be at least one minute"));
        }
        if key.verification_ttl > 10 * key.rotation_period {
            return Err(invalid("verification_ttl cannot be longer than 10x rotation_period"));
        }
        let wanted = algorithm.unwrap_or(key.algorithm);
        let due = self.rotation_after(&key)?;
        let mut txn = self.oidc_change(name, revision);
        if revision.is_none() || wanted != key.algorithm {
            key.algorithm = wanted;
            // Twice: neither half of the old algorithm is left to sign.
            for _ in 0..2 {
                self.rotate_pair(&mut txn, &mut key, None).await?;
            }
        }
        key.next_rotation = due.min(if revision.is_some() { key.next_rotation } else { due });
        self.put(&mut txn, &key_path(name), &key)?;
        self.commit(txn).await
    }

    pub(super) async fn oidc_key(&self, name: &str) -> Result<Option<(Key, holdfast_logical::Revision)>, Error> {
        Ok(self.view().get_json(&key_path(name)).await?)
    }

    /// All named keys.
    pub(super) async fn oidc_keys(&self) -> Result<Vec<Key>, Error> {
        let names = self.view().list("oidc/key/", "", 0).await?;
        let reads = futures::future::try_join_all(names.iter().map(|name| self.oidc_key(name))).await?;
        Ok(reads.into_iter().flatten().map(|(key, _)| key).collect())
    }

    pub(crate) async fn read_oidc_key(&self, name: &str) -> Result<Response, Error> {
        let (key, _) = self.oidc_key(name).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(json!({
            "algorithm": key.algorithm.name(),
            "allowed_client_ids": key.allowed_client_ids,
            "rotation_period": key.rotation_period,
            "verification_ttl": key.verification_ttl,
        })))
    }

    /// Removes a key that no role uses.
    pub(crate) async fn delete_oidc_key(&self, name: &str) -> Result<Response, Error> {
        let roles = self.oidc_roles().await?;
        let users: Vec<String> = roles.into_iter().filter(|role| role.key == name).map(|role| role.name).collect();
        if !users.is_empty() {
            return Err(Error::invalid(format!(
                "unable to delete key {name:?} because it is currently referenced by these roles: {}",
                users.join(", ")
            )));
        }
        retried(|| async {
            let Some((key, revision)) = self.oidc_key(name).await? else { return Ok(()) };
            let mut txn = self.oidc_change(name, Some(revision));
            self.delete(&mut txn, &key_path(name));
            self.delete(&mut txn, &private_path(&key.signing));
            self.delete(&mut txn, &private_path(&key.next));
            self.commit(txn).await
        })
        .await?;
        Ok(Response::empty())
    }

    pub(crate) async fn list_oidc_keys(&self) -> Result<Response, Error> {
        Response::keys(self.view().list("oidc/key/", "", 0).await?)
    }
}

impl Key {
    fn new(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            algorithm: Algorithm::default(),
            rotation_period: DAY,
            verification_ttl: DAY,
            allowed_client_ids: Vec::new(),
            next_rotation: now,
            signing: String::new(),
            next: String::new(),
            ring: Vec::new(),
        }
    }

    /// May a role with this client id have tokens signed?
    pub(super) fn allows(&self, client_id: &str) -> bool {
        self.allowed_client_ids.iter().any(|allowed| allowed == "*" || allowed == client_id)
    }
}
