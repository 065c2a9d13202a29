//! A mount of the method: what serves which path.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_fetch::Fetcher;
use holdfast_logical::{
    Backend, Connection, Error, Grant, Operation, PathTable, Request, Response, Revision, Services, fold,
};
use parking_lot::Mutex;

use crate::{crl::Revoked, paths::PATHS, role_api::Trust};

/// The same list is fetched at most once in this time.
const PAUSE: Duration = Duration::from_secs(300);

/// A mount of the method.
pub(crate) struct Certs {
    pub services: Services,
    pub fetcher: Fetcher,
    /// Roles by name, as they were at a revision.
    pub trusts: Mutex<HashMap<String, (Revision, Arc<Trust>)>>,
    /// Revocation lists by name, as they were at a revision.
    pub crls: Mutex<HashMap<String, (Revision, Arc<Revoked>)>>,
    asked: Mutex<HashMap<String, Duration>>,
}

impl Certs {
    pub fn new(services: Services) -> Self {
        Self {
            services,
            fetcher: Fetcher::default(),
            trusts: Mutex::default(),
            crls: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// May a list be fetched now? Then not again for a while.
    pub fn may_ask(&self, name: &str) -> bool {
        let (mut asked, now) = (self.asked.lock(), self.services.clock.boottime());
        let may = asked.get(name).is_none_or(|at| now.saturating_sub(*at) >= PAUSE);
        if may {
            asked.insert(name.to_owned(), now);
        }
        may
    }
}

#[async_trait]
impl Backend for Certs {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let fields = &request.fields;
        let name = fold(fields.string("name").unwrap_or_default());
        match (request.route, request.operation) {
            ("config", Operation::Read) => self.read_config().await,
            ("config", _) => self.write_config(fields).await,
            ("roles", _) => Response::keys(self.services.view.list("cert/", "", 0).await?),
            ("role", Operation::Read) => self.read_role(&name).await,
            ("role", Operation::Delete) => self.delete_role(&name).await,
            ("role", _) => self.write_role(&name, fields).await,
            ("crls", _) => Response::keys(self.services.view.list("crl/", "", 0).await?),
            ("crl", Operation::Read) => self.read_crl(&name).await,
            ("crl", Operation::Delete) => self.delete_crl(&name).await,
            ("crl", _) => self.write_crl(&name, fields).await,
            ("login", _) => self.login(&name, &request.connection).await,
            _ => Err(Error::UnsupportedOperation),
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match (request.route, request.fields.string("name")) {
            ("role", Some(name)) => Ok(Some(self.has_role(&fold(name)).await?)),
            _ => Ok(None),
        }
    }

    async fn renew_grant(&self, grant: Grant, connection: &Connection) -> Result<Grant, Error> {
        self.renew(grant, connection).await
    }

    async fn tick(&self) -> Result<(), Error> {
        self.refresh().await
    }
}
