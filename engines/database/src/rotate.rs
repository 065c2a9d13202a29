//! The password of the connection's own user: `rotate-root/`.
//!
//! The new password is stored before it is set in the database. Whoever finds it there, also after a crash and on
//! another replica, sets the same one again; nobody draws another. It becomes *the* password when a login with it worked.

use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Error, Response, Revision, StoreError};

use crate::{
    config::Config,
    engine::Database,
    postgres::{Failure, Pool, User},
};

impl Database {
    pub async fn rotate_root(&self, name: &str) -> Result<Response, Error> {
        let Some((mut config, mut revision)) = self.config(name).await? else {
            return Err(Error::Invalid(format!("failed to find entry for connection with name: {name:?}")));
        };
        if config.username.is_empty() || config.password.is_empty() {
            return Err(Error::invalid(
                "unable to rotate root credentials: the connection has no username and password",
            ));
        }
        if config.next_password.is_none() {
            config.next_password = Some(self.new_password(&config).await?);
            revision = match self.store_config(name, &config, Check::At(revision)).await {
                Ok(revision) => revision,
                Err(StoreError::Conflict) => {
                    return Err(Error::Unavailable(
                        "the connection was changed at the same time; try again".to_owned(),
                    ));
                }
                Err(error) => return Err(error.into()),
            };
        }
        failpoint!("database.rotate.next-stored").await;
        self.finish(name, config, revision).await?;
        Ok(Response::empty())
    }

    /// Ends rotations that were begun and not finished.
    pub async fn finish_rotations(&self) -> Result<(), Error> {
        for name in self.services.view.list("config/", "", 0).await? {
            let Some((config, revision)) = self.config(&name).await? else { continue };
            if config.next_password.is_some()
                && let Err(error) = self.finish(&name, config, revision).await
            {
                tracing::warn!(connection = name, %error, "the rotation of the root password is not finished yet");
            }
        }
        Ok(())
    }

    async fn finish(&self, name: &str, mut config: Config, revision: Revision) -> Result<(), Error> {
        let Some(next) = config.next_password.take() else { return Ok(()) };
        let (pool, member) = (Pool::new(&config)?, self.member());
        let user = User { name: &config.username, password: &next, expiration: None };
        match pool.open_with(&config.password, &member).await {
            Ok(session) => session.rotate(&user, &config.root_rotation_statements).await?,
            // Refused: the new one may be set already, as the next login tells.
            Err(Failure::Login { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        failpoint!("database.rotate.set").await;
        drop(pool.open_with(&next, &member).await?);
        config.password = next;
        failpoint!("database.rotate.proved").await;
        match self.store_config(name, &config, Check::At(revision)).await {
            // Another replica finished it, with the same password.
            Ok(_) | Err(StoreError::Conflict) => {
                self.pools.forget(name);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
