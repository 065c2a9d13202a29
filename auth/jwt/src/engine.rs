//! A mount of the method: what serves which path.

use async_trait::async_trait;
use holdfast_fetch::Fetcher;
use holdfast_jose::KeyCache;
use holdfast_logical::{Backend, Connection, Error, Grant, Operation, PathTable, Request, Response, Services, fold};

use crate::paths::PATHS;

/// A mount of the method.
pub(crate) struct Jwt {
    pub services: Services,
    pub fetcher: Fetcher,
    pub keys: KeyCache,
}

impl Jwt {
    pub fn new(services: Services) -> Self {
        let keys = KeyCache::new(services.clock.clone());
        Self { services, fetcher: Fetcher::default(), keys }
    }
}

#[async_trait]
impl Backend for Jwt {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let fields = &request.fields;
        let name = fold(fields.string("name").unwrap_or_default());
        match (request.route, request.operation) {
            ("config", Operation::Read) => self.read_config().await,
            ("config", _) => self.write_config(fields).await,
            ("roles", _) => Response::keys(self.services.view.list("role/", "", 0).await?),
            ("role", Operation::Read) => self.read_role(&name).await,
            ("role", Operation::Delete) => self.delete_role(&name).await,
            ("role", _) => self.write_role(&name, fields).await,
            ("login", _) => self.login(&request).await,
            ("browser", _) => Err(Error::invalid(
                "logins through a browser are not supported yet: use a role with role_type jwt and the path login",
            )),
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match (request.route, request.fields.string("name")) {
            ("role", Some(name)) => Ok(Some(self.role(&fold(name)).await?.is_some())),
            _ => Ok(None),
        }
    }

    async fn renew_grant(&self, grant: Grant, _connection: &Connection) -> Result<Grant, Error> {
        self.renew(grant).await
    }
}
