//! Connections that are kept for the next use, at most so many at a time.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_logical::Revision;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, NoTls, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Failure,
    session::{Place, Session, chain},
    tls,
    url::Target,
};
use crate::{
    config::{Config, lifetime},
    member::Member,
};

/// A connection must stand, or a permit be free, within this time.
const CONNECT: Duration = Duration::from_secs(10);

/// Connections that were not used for this long are closed.
const IDLE: Duration = Duration::from_secs(300);

/// The pools of a mount, each for one revision of its configuration.
#[derive(Default)]
pub(crate) struct Pools(Mutex<HashMap<String, (Revision, Pool)>>);

/// The connections of one configuration.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    config: Config,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<(Connected, Instant)>>,
}

/// A connection that stands.
pub(super) struct Connected {
    pub client: Client,
    pub host: String,
    /// With what it is encrypted.
    pub tls: Option<MakeRustlsConnect>,
    /// What it tells the database.
    application_name: String,
    born: Instant,
}

impl Pools {
    /// The pool of a configuration; one of an older revision is left to those who use it.
    pub fn get(&self, name: &str, config: &Config, revision: Revision) -> Result<Pool, Failure> {
        let mut pools = self.0.lock();
        if let Some((of, pool)) = pools.get(name)
            && *of == revision
        {
            return Ok(pool.clone());
        }
        let pool = Pool::new(config)?;
        pools.insert(name.to_owned(), (revision, pool.clone()));
        Ok(pool)
    }

    /// Closes the idle connections of a configuration.
    pub fn forget(&self, name: &str) {
        self.0.lock().remove(name);
    }

    /// Closes connections that were not used for a while.
    pub fn close_idle(&self) {
        for (_, pool) in self.0.lock().values() {
            pool.0.idle.lock().retain(|(idle, used)| used.elapsed() < IDLE && !idle.client.is_closed());
        }
    }
}

impl Pool {
    /// A pool without connections; fails if the configuration cannot work.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let target = Target::new(config, &config.password, "")?;
        tls::connector(target.mode, config)?;
        let permits = Arc::new(Semaphore::new(config.max_open_connections.max(1) as usize));
        Ok(Self(Arc::new(Inner { config: config.clone(), permits, idle: Mutex::default() })))
    }

    /// A connection of a member: a kept one, or a new one.
    pub async fn session(&self, member: &Member) -> Result<Session, Failure> {
        let permit = self.permit().await?;
        if let Some(kept) = self.kept(member) {
            return Ok(session(kept, member, permit));
        }
        let config = &self.0.config;
        let connected = match (self.connect(&config.password, member).await, &config.next_password) {
            // The password that is on its way has arrived already.
            (Err(Failure::Login { .. }), Some(next)) => self.connect(next, member).await,
            (connected, _) => connected,
        };
        Ok(session(connected?, member, permit))
    }

    /// A new connection with this password.
    pub async fn open_with(&self, password: &str, member: &Member) -> Result<Session, Failure> {
        let permit = self.permit().await?;
        Ok(session(self.connect(password, member).await?, member, permit))
    }

    /// Keeps a connection that has no open transaction.
    pub fn give_back(&self, session: Session) {
        let config = &self.0.config;
        let most =
            if config.max_idle_connections == 0 { config.max_open_connections } else { config.max_idle_connections };
        let connected = session.connected;
        let mut idle = self.0.idle.lock();
        if !connected.client.is_closed() && self.is_young(&connected) && idle.len() < most as usize {
            idle.push((connected, Instant::now()));
        }
    }

    /// One that is good for a member: this replica may have joined anew, under another id. Those that are not are closed.
    fn kept(&self, member: &Member) -> Option<Connected> {
        let mut idle = self.0.idle.lock();
        while let Some((kept, _)) = idle.pop() {
            let is_good = !kept.client.is_closed() && self.is_young(&kept);
            if is_good && kept.application_name == member.application_name() {
                return Some(kept);
            }
        }
        None
    }

    fn is_young(&self, connected: &Connected) -> bool {
        lifetime(&self.0.config).is_none_or(|lifetime| connected.born.elapsed() < lifetime)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let busy = || Failure::Unreachable {
            host: "the database".to_owned(),
            cause: format!(
                "all {} connections were busy for {} s (max_open_connections)",
                self.0.config.max_open_connections,
                CONNECT.as_secs()
            ),
        };
        match tokio::time::timeout(CONNECT, self.0.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }

    async fn connect(&self, password: &str, member: &Member) -> Result<Connected, Failure> {
        let application_name = member.application_name();
        let target = Target::new(&self.0.config, password, &application_name)?;
        let tls = tls::connector(target.mode, &self.0.config)?;
        let connecting = async {
            let connected = match tls.clone() {
                None => target.config.connect(NoTls).await.map(|(client, connection)| {
                    tokio::spawn(connection);
                    client
                }),
                Some(tls) => target.config.connect(tls).await.map(|(client, connection)| {
                    tokio::spawn(connection);
                    client
                }),
            };
            connected.map_err(|error| target.refused(&error))
        };
        let host = target.host.clone();
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(client) => Ok(Connected { client: client?, host, tls, application_name, born: Instant::now() }),
            Err(_) => Err(Failure::Unreachable { host, cause: format!("no answer within {} s", CONNECT.as_secs()) }),
        }
    }
}

fn session(connected: Connected, member: &Member, permit: OwnedSemaphorePermit) -> Session {
    Session { place: Place::new(&connected, permit), connected, member: member.clone() }
}

impl Target {
    fn refused(&self, error: &tokio_postgres::Error) -> Failure {
        let host = self.host.clone();
        match error.as_db_error() {
            Some(db)
                if matches!(*db.code(), SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION) =>
            {
                Failure::Login { host, user: self.user.clone(), cause: db.message().to_owned() }
            }
            Some(db) => Failure::Unreachable { host, cause: db.message().to_owned() },
            None => Failure::Unreachable { host, cause: chain(error) },
        }
    }
}
