//! One connection in use.

use std::{error::Error as _, time::Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::{Client, Error as PgError, error::SqlState};

use super::Failure;

/// A connection that nobody else uses. Dropped without [`super::Pool::give_back`] it is closed, which undoes an open
/// transaction.
pub(crate) struct Session {
    pub(super) client: Client,
    pub(super) host: String,
    pub(super) born: Instant,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Session {
    /// Runs one statement by itself.
    pub async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.client.simple_query(sql).await.map(drop).map_err(|error| failed(&self.host, "a statement", &error))
    }

    /// Runs statements in one transaction. `what` is for the error, which also tells the number of the statement.
    pub async fn transaction(&self, what: &str, statements: &[String]) -> Result<(), Failure> {
        let fail = |error: PgError, what: &str| failed(&self.host, what, &error);
        self.client
            .batch_execute("BEGIN; SET LOCAL statement_timeout = '25s'; SET LOCAL lock_timeout = '10s'")
            .await
            .map_err(|error| fail(error, what))?;
        for (index, statement) in statements.iter().enumerate() {
            if let Err(error) = self.client.batch_execute(statement).await {
                let _ = self.client.batch_execute("ROLLBACK").await;
                return Err(fail(error, &format!("{what}: statement {} of {}", index + 1, statements.len())));
            }
        }
        self.client.batch_execute("COMMIT").await.map_err(|error| fail(error, what))
    }

    /// Is there such a user?
    pub async fn has_user(&self, name: &str) -> Result<bool, Failure> {
        let sql = format!("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = {}", crate::statements::literal(name));
        let rows =
            self.client.simple_query(&sql).await.map_err(|error| failed(&self.host, "looking for the user", &error))?;
        Ok(rows.iter().any(|row| matches!(row, tokio_postgres::SimpleQueryMessage::Row(_))))
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
