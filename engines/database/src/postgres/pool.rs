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

use super::{
    Failure,
    session::{Session, chain},
    tls,
    url::Target,
};
use crate::config::{Config, lifetime};

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
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    client: Client,
    host: String,
    born: Instant,
    used: Instant,
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
            pool.0.idle.lock().retain(|idle| idle.used.elapsed() < IDLE && !idle.client.is_closed());
        }
    }
}

impl Pool {
    /// A pool without connections; fails if the configuration cannot work.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let target = Target::new(config, &config.password)?;
        tls::connector(target.mode, config)?;
        let permits = Arc::new(Semaphore::new(config.max_open_connections.max(1) as usize));
        Ok(Self(Arc::new(Inner { config: config.clone(), permits, idle: Mutex::default() })))
    }

    /// A connection: a kept one, or a new one.
    pub async fn session(&self) -> Result<Session, Failure> {
        let permit = self.permit().await?;
        while let Some(idle) = self.kept() {
            if !idle.client.is_closed() && self.young(idle.born) {
                return Ok(Session { client: idle.client, host: idle.host, born: idle.born, _permit: permit });
            }
        }
        let config = &self.0.config;
        let connected = match (self.connect(&config.password).await, &config.next_password) {
            // The password that is on its way has arrived already.
            (Err(Failure::Login { .. }), Some(next)) => self.connect(next).await,
            (connected, _) => connected,
        };
        let (client, host) = connected?;
        Ok(Session { client, host, born: Instant::now(), _permit: permit })
    }

    /// A new connection with this password.
    pub async fn open_with(&self, password: &str) -> Result<Session, Failure> {
        let permit = self.permit().await?;
        let (client, host) = self.connect(password).await?;
        Ok(Session { client, host, born: Instant::now(), _permit: permit })
    }

    /// Keeps a connection that has no open transaction.
    pub fn give_back(&self, session: Session) {
        let config = &self.0.config;
        let most =
            if config.max_idle_connections == 0 { config.max_open_connections } else { config.max_idle_connections };
        let mut idle = self.0.idle.lock();
        if !session.client.is_closed() && self.young(session.born) && idle.len() < most as usize {
            idle.push(Idle { client: session.client, host: session.host, born: session.born, used: Instant::now() });
        }
    }

    fn kept(&self) -> Option<Idle> {
        self.0.idle.lock().pop()
    }

    fn young(&self, born: Instant) -> bool {
        lifetime(&self.0.config).is_none_or(|lifetime| born.elapsed() < lifetime)
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

    async fn connect(&self, password: &str) -> Result<(Client, String), Failure> {
        let target = Target::new(&self.0.config, password)?;
        let host = target.host.clone();
        let connecting = async {
            match tls::connector(target.mode, &self.0.config)? {
                None => match target.config.connect(NoTls).await {
                    Ok((client, connection)) => {
                        tokio::spawn(connection);
                        Ok(client)
                    }
                    Err(error) => Err(target.refused(&error)),
                },
                Some(tls) => match target.config.connect(tls).await {
                    Ok((client, connection)) => {
                        tokio::spawn(connection);
                        Ok(client)
                    }
                    Err(error) => Err(target.refused(&error)),
                },
            }
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(client) => Ok((client?, host)),
            Err(_) => Err(Failure::Unreachable { host, cause: format!("no answer within {} s", CONNECT.as_secs()) }),
        }
    }
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
