//! One connection in use.

use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};
use tokio_postgres::{CancelToken, Error as PgError, NoTls, SimpleQueryMessage, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Failure, pool::Connected};
use crate::member::Member;

/// A connection that nobody else uses. Dropped without [`super::Pool::give_back`] it is closed, which undoes an open
/// transaction.
pub(crate) struct Session {
    pub(super) connected: Connected,
    pub(super) member: Member,
    pub(super) place: Place,
}

/// One of the connections that may be open at a time. If its user gives up in the middle of a statement, that is broken
/// off at the database before the place is free: it would go on there, beside the next.
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    running: AtomicBool,
    cancel: CancelToken,
    tls: Option<MakeRustlsConnect>,
}

/// Longest time that breaking off may take.
const BREAK_OFF: Duration = Duration::from_secs(10);

impl Place {
    pub fn new(connected: &Connected, permit: OwnedSemaphorePermit) -> Self {
        let (cancel, tls) = (connected.client.cancel_token(), connected.tls.clone());
        Self { permit: Some(permit), running: AtomicBool::new(false), cancel, tls }
    }

    /// What it waits for is a statement.
    async fn hold<T>(&self, statement: impl Future<Output = T>) -> T {
        self.running.store(true, Ordering::Relaxed);
        let outcome = statement.await;
        self.running.store(false, Ordering::Relaxed);
        outcome
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (*self.running.get_mut(), Handle::try_current()) else { return };
        let (permit, cancel, tls) = (self.permit.take(), self.cancel.clone(), self.tls.take());
        runtime.spawn(async move {
            let broken_off = async {
                match tls {
                    Some(tls) => cancel.cancel_query(tls).await,
                    None => cancel.cancel_query(NoTls).await,
                }
            };
            let _ = tokio::time::timeout(BREAK_OFF, broken_off).await;
            drop(permit);
        });
    }
}

impl Session {
    /// Runs one statement by itself.
    pub async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.member.check()?;
        self.ask(sql).await.map(drop)
    }

    /// The first column of what a statement finds that changes nothing.
    pub async fn ask(&self, sql: &str) -> Result<Vec<String>, Failure> {
        let found = self.place.hold(self.connected.client.simple_query(sql)).await;
        let found = found.map_err(|error| failed(&self.connected.host, "a statement", &error))?;
        let first = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        };
        Ok(found.iter().filter_map(first).collect())
    }

    /// Runs statements in one transaction. `what` is for the error, which also tells the number of the statement.
    pub async fn transaction(&self, what: &str, statements: &[String]) -> Result<(), Failure> {
        let host = &self.connected.host;
        let fail = |error: PgError, what: &str| failed(host, what, &error);
        self.member.check()?;
        self.send("BEGIN; SET LOCAL statement_timeout = '25s'; SET LOCAL lock_timeout = '10s'")
            .await
            .map_err(|error| fail(error, what))?;
        // From here on it is undone when the session is dropped, unless statements of the role have ended it.
        let still =
            || self.member.check().map_err(|doubt| Failure::Broken { host: host.clone(), cause: doubt.to_string() });
        for (index, statement) in statements.iter().enumerate() {
            still()?;
            if let Err(error) = self.send(statement).await {
                let _ = self.send("ROLLBACK").await;
                return Err(fail(error, &format!("{what}: statement {} of {}", index + 1, statements.len())));
            }
        }
        still()?;
        self.send("COMMIT").await.map_err(|error| fail(error, what))
    }

    async fn send(&self, sql: &str) -> Result<(), PgError> {
        self.place.hold(self.connected.client.batch_execute(sql)).await
    }

    /// Is there such a user?
    pub async fn has_user(&self, name: &str) -> Result<bool, Failure> {
        let sql = format!("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = {}", crate::statements::literal(name));
        Ok(!self.ask(&sql).await?.is_empty())
    }
}

/// What an error of a connected session means.
pub(super) fn failed(host: &str, what: &str, error: &PgError) -> Failure {
    match error.as_db_error() {
        // The connection ends with these.
        Some(db)
            if *db.code() == SqlState::ADMIN_SHUTDOWN
                || *db.code() == SqlState::CRASH_SHUTDOWN
                || *db.code() == SqlState::CANNOT_CONNECT_NOW =>
        {
            Failure::Broken { host: host.to_owned(), cause: db.message().to_owned() }
        }
        Some(db) => Failure::Sql {
            what: what.to_owned(),
            // The text of a syntax error quotes the statement, and with it perhaps a part of a password.
            cause: if *db.code() == SqlState::SYNTAX_ERROR { "syntax error" } else { db.message() }.to_owned(),
            state: db.code().code().to_owned(),
        },
        None => Failure::Broken { host: host.to_owned(), cause: chain(error) },
    }
}

/// An error with its causes.
pub(super) fn chain(error: &PgError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
