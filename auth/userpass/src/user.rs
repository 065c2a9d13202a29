//! Users: `users/`.

use holdfast_logical::{Check, Error, Fields, Response, Revision, StoreError, TokenFields, Txn};
use holdfast_secret::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{engine::UserPass, password};

/// Tries of a change that meets others.
const TRIES: u32 = 32;

/// As it is stored.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct User {
    /// bcrypt.
    pub password_hash: String,
    pub token: TokenFields,
}

impl UserPass {
    pub async fn user(&self, name: &str) -> Result<Option<(User, Revision)>, Error> {
        Ok(self.services.view.get_json(&format!("user/{name}")).await?)
    }

    pub async fn list_users(&self) -> Result<Response, Error> {
        Response::keys(self.services.view.list("user/", "", 0).await?)
    }

    pub async fn read_user(&self, name: &str) -> Result<Response, Error> {
        let (user, _) = self.user(name).await?.ok_or_else(Error::not_found)?;
        let mut data = Map::new();
        user.token.show(&mut data);
        Ok(Response::data(Value::Object(data)))
    }

    pub async fn delete_user(&self, name: &str) -> Result<Response, Error> {
        self.services.view.delete(&format!("user/{name}")).await?;
        Ok(Response::empty())
    }

    pub async fn write_user(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let hash = self.given_hash(fields).await?;
        self.change(name, |user| {
            let mut user = match (user, &hash) {
                (Some(user), _) => user,
                (None, Some(_)) => User::default(),
                (None, None) => return Err(Error::invalid("missing password")),
            };
            if let Some(hash) = &hash {
                user.password_hash.clone_from(hash);
            }
            user.token.set(fields)?;
            Ok(user)
        })
        .await
    }

    pub async fn write_password(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        let hash = self.given_hash(fields).await?.ok_or_else(|| Error::invalid("missing password"))?;
        self.change(name, |user| {
            let mut user = user.ok_or_else(|| Error::invalid("username does not exist"))?;
            user.password_hash.clone_from(&hash);
            Ok(user)
        })
        .await
    }

    pub async fn write_policies(&self, name: &str, fields: &Fields) -> Result<Response, Error> {
        if !fields.has("token_policies") && !fields.has("policies") {
            return Err(Error::invalid("missing token_policies"));
        }
        self.change(name, |user| {
            let mut user = user.ok_or_else(|| Error::invalid("username does not exist"))?;
            user.token.set(fields)?;
            Ok(user)
        })
        .await
    }

    /// The hash of the password that was sent, or the hash that was sent itself.
    async fn given_hash(&self, fields: &Fields) -> Result<Option<String>, Error> {
        let given = |name| fields.string(name).filter(|text| !text.is_empty());
        match (given("password"), given("password_hash")) {
            (Some(_), Some(_)) => Err(Error::invalid("only one of password and password_hash can be given")),
            (None, Some(hash)) => password::foreign(hash).map(Some),
            (Some(text), None) => {
                self.bcrypt.hash(SecretString::new(text), self.services.entropy.as_ref()).await.map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// Changes a user; runs `change` again when somebody else was faster.
    async fn change(
        &self,
        name: &str,
        change: impl Fn(Option<User>) -> Result<User, Error> + Send,
    ) -> Result<Response, Error> {
        for _ in 0..TRIES {
            let (user, check) = match self.user(name).await? {
                Some((user, revision)) => (Some(user), Check::At(revision)),
                None => (None, Check::Absent),
            };
            let path = self.services.view.path(&format!("user/{name}"));
            let mut txn = Txn::new();
            txn.check(path.clone(), check).put_json(path, &change(user)?)?;
            match self.services.view.commit(txn).await {
                Ok(_) => return Ok(Response::empty()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}
