//! A mount of the method: what serves which path.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use holdfast_logical::{
    Backend, Connection, Error, Grant, MountInfo, Operation, PathTable, Request, Response, Services, fold,
};
use parking_lot::{Mutex, RwLock};

use crate::{
    paths::PATHS,
    salt::Salt,
    tidy::{self, Running},
};

/// Tries of a change that meets others. Each conflict means that somebody else got on.
pub(crate) const TRIES: u32 = 128;

/// Time between two tidies that nobody asked for.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// A mount of the method.
pub(crate) struct AppRole {
    pub services: Services,
    pub mount: RwLock<Arc<MountInfo>>,
    pub salt: Salt,
    pub tidying: Arc<AtomicBool>,
    tidied: Mutex<Duration>,
}

impl AppRole {
    pub fn new(mount: Arc<MountInfo>, services: Services) -> Self {
        let tidied = Mutex::new(services.clock.boottime());
        Self { services, mount: RwLock::new(mount), salt: Salt::default(), tidying: Arc::default(), tidied }
    }

    /// Is it time for a tidy? Then the next one is an hour away.
    fn due(&self) -> bool {
        let (mut tidied, now) = (self.tidied.lock(), self.services.clock.boottime());
        let due = now.saturating_sub(*tidied) >= TIDY_EVERY;
        if due {
            *tidied = now;
        }
        due
    }
}

#[async_trait]
impl Backend for AppRole {
    fn paths(&self) -> &'static PathTable {
        PATHS
    }

    async fn handle(&self, request: Request) -> Result<Response, Error> {
        let fields = &request.fields;
        let name = fold(fields.string("name").unwrap_or_default());
        match (request.route, request.operation) {
            ("login", _) => self.login(&request).await,
            ("roles", _) => self.list_roles().await,
            ("tidy", _) => Ok(self.start_tidy()),
            ("role", Operation::Read) => self.read_role(&name).await,
            ("role", Operation::Delete) => self.delete_role(&name).await,
            ("role", _) => self.write_role(&name, fields).await,
            ("role-id", Operation::Read) => self.read_role_id(&name).await,
            ("role-id", _) => self.write_role_id(&name, fields).await,
            ("secret-id", Operation::List) => self.list_accessors(&name).await,
            ("secret-id", _) => self.generate(&name, fields, false).await,
            ("custom-secret-id", _) => self.generate(&name, fields, true).await,
            ("lookup", _) => self.lookup(&name, fields).await,
            ("destroy", _) => self.destroy(&name, fields).await,
            ("lookup-accessor", _) => self.lookup_accessor(&name, fields).await,
            ("destroy-accessor", _) => self.destroy_accessor(&name, fields).await,
            (setting, Operation::Read) => self.read_setting(&name, setting).await,
            (setting, Operation::Delete) => self.reset_setting(&name, setting).await,
            (setting, _) => self.write_setting(&name, setting, fields).await,
        }
    }

    async fn exists(&self, request: &Request) -> Result<Option<bool>, Error> {
        match (request.route, request.fields.string("name")) {
            ("role", Some(name)) => Ok(Some(self.role(&fold(name)).await?.is_some())),
            _ => Ok(None),
        }
    }

    async fn login_alias(&self, request: &Request) -> Result<Option<String>, Error> {
        if request.route == "login" { self.alias(request).await } else { Ok(None) }
    }

    async fn renew_grant(&self, grant: Grant, _connection: &Connection) -> Result<Grant, Error> {
        self.renew(grant).await
    }

    async fn tick(&self) -> Result<(), Error> {
        if self.due()
            && let Some(_running) = Running::begin(&self.tidying)
        {
            tidy::tidy(&self.services).await?;
        }
        Ok(())
    }

    async fn tuned(&self, mount: Arc<MountInfo>) {
        *self.mount.write() = mount;
    }
}
