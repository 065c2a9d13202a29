//! The operator's session with the server: logs in with its service account token, keeps the token alive, and logs in
//! again when the server no longer knows it. Nothing that the operator makes hangs on that token: credentials are bound
//! to their owner, so a new login changes nothing for them.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use holdfast_client::{Client, Config, Error, read_pem};
use holdfast_secret::SecretString;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tracing::{debug, info};

use crate::settings::Settings;

/// For one request. Short, because a deletion may wait for it; long enough for a database that does not answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// For a login, which all wait for.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that did not answer a login counts as away for those who waited behind it.
const AWAY: Duration = Duration::from_secs(2);
/// A token this young is not the reason of a 403.
const YOUNG: Duration = Duration::from_secs(10);

/// A session, shared by all controllers.
pub struct Server {
    settings: Settings,
    session: Mutex<Option<Session>>,
    away: parking_lot::Mutex<Option<(Instant, String)>>,
}

struct Session {
    client: Client,
    since: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

impl Server {
    /// No connection is made yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, session: Mutex::new(None), away: parking_lot::Mutex::new(None) }
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// Mount of the kubernetes auth method, without `auth/`.
    pub fn auth_mount(&self) -> &str {
        self.settings.auth_mount.trim_matches('/')
    }

    /// A client without token.
    pub fn anonymous(&self) -> Result<Client, Error> {
        let ca_pem = self.settings.ca_file.as_deref().map(read_pem).transpose()?;
        Client::new(Config {
            address: self.settings.address.clone(),
            ca_pem,
            timeout: Some(TIMEOUT),
            ..Config::default()
        })
    }

    /// Does this with a client that is logged in; once more after a new login, if the server says 403 to a token that is
    /// not young.
    pub async fn with<T, F, R>(&self, work: F) -> Result<T, Error>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let (client, since) = self.client().await?;
        match work(client).await {
            Err(error) if error.status() == Some(403) && since.elapsed() > YOUNG => {
                self.forget(since).await;
                work(self.client().await?.0).await
            }
            other => other,
        }
    }

    /// GET; `None` when there is nothing.
    pub async fn read(&self, path: &str) -> Result<Option<Value>, Error> {
        let answer = self.with(|client| async move { client.read(path).await }).await;
        match answer {
            Ok(envelope) => Ok(envelope.and_then(|envelope| envelope.data).map(Value::Object)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// PUT.
    pub async fn write(&self, path: &str, body: &Value) -> Result<(), Error> {
        self.with(|client| async move { client.write(path, body.clone()).await }).await.map(drop)
    }

    /// DELETE; nothing there is no error.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        match self.with(|client| async move { client.delete(path).await }).await {
            Err(error) if error.status() == Some(404) => Ok(()),
            other => other.map(drop),
        }
    }

    /// LIST; empty when there is nothing.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        self.with(|client| async move { client.list(path).await }).await
    }

    async fn client(&self) -> Result<(Client, Instant), Error> {
        let mut session = self.session.lock().await;
        let now = Instant::now();
        if let Some(current) = session.as_mut().filter(|current| now < current.ends_at) {
            if now >= current.renew_at {
                renew(current).await;
            }
            if now < current.ends_at {
                return Ok((current.client.clone(), current.since));
            }
        }
        if let Some((_, reason)) = self.away.lock().as_ref().filter(|(since, _)| since.elapsed() < AWAY) {
            return Err(Error::Unreachable { address: self.settings.address.clone(), reason: reason.clone() });
        }
        let outcome = tokio::time::timeout(LOGIN_TIMEOUT, self.login()).await.unwrap_or_else(|_| {
            let reason = format!("no answer to a login within {LOGIN_TIMEOUT:?}");
            Err(Error::Unreachable { address: self.settings.address.clone(), reason })
        });
        if let Err(Error::Unreachable { reason, .. }) = &outcome {
            *self.away.lock() = Some((Instant::now(), reason.clone()));
        }
        let fresh = outcome?;
        let answer = (fresh.client.clone(), fresh.since);
        *session = Some(fresh);
        Ok(answer)
    }

    async fn forget(&self, since: Instant) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|current| current.since == since) {
            *session = None;
        }
    }

    async fn login(&self) -> Result<Session, Error> {
        let path = &self.settings.token_file;
        let jwt = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| Error::Config(format!("service account token {}: {error}", path.display())))?;
        let jwt = SecretString::new(jwt.trim());
        let (client, envelope) =
            self.anonymous()?.login_kubernetes(self.auth_mount(), &self.settings.role, &jwt).await?;
        let seconds = envelope.auth.map_or(0, |auth| auth.lease_duration);
        info!(role = self.settings.role, seconds, "logged in");
        Ok(Session::new(client, seconds))
    }
}

impl Session {
    fn new(client: Client, seconds: u64) -> Self {
        let now = Instant::now();
        // Zero stands for a token without end.
        let life = Duration::from_secs(if seconds == 0 { 86_400 } else { seconds });
        Self { client, since: now, renew_at: now + life * 2 / 3, ends_at: now + life * 9 / 10 }
    }
}

/// Renews the token; whatever goes wrong, a new login follows.
async fn renew(session: &mut Session) {
    let renewed = session.client.write("auth/token/renew-self", json!({})).await;
    let seconds = match renewed {
        Ok(envelope) => envelope.and_then(|envelope| envelope.auth).map_or(0, |auth| auth.lease_duration),
        Err(error) => {
            debug!(%error, "token not renewed; a login follows");
            0
        }
    };
    let life = Duration::from_secs(seconds);
    // A token near its end is not worth renewing: log in while the old one still works.
    if life < Duration::from_secs(60) {
        session.ends_at = Instant::now();
        return;
    }
    session.renew_at = Instant::now() + life * 2 / 3;
    session.ends_at = Instant::now() + life * 9 / 10;
}
