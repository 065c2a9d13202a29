//! The login: made with the pod's projected token, renewed at two thirds, made anew when it cannot be renewed. Bound
//! leases do not hang on it.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use holdfast_api_types::AuthInfo;
use holdfast_client::{Client, Config as ClientConfig, Error as ClientError};
use holdfast_secret::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    backoff::Jitter,
    config::{Auth, Server},
    failure::{Class, Failure, Who},
};

/// Shortest time from a login to another one because of a refusal. Doubles with each, up to five minutes: a path that
/// stays forbidden must not cost a token a second.
const RELOGIN_PAUSE: Duration = Duration::from_secs(5);

/// A logged-in connection.
pub struct Session {
    client: Client,
    auth: Auth,
    who: Who,
    jitter: Jitter,
    /// When to renew, and whether that is possible.
    due: Option<Instant>,
    renewable: bool,
    ttl: Duration,
    logged_in: Instant,
    failures: u32,
    relogins: u32,
}

/// A client for the server of the configuration, without token.
pub fn connect(server: &Server) -> Result<Client, Failure> {
    let config = |text: String| Failure::new(Class::Config, text);
    let ca_pem = match (&server.ca_pem, &server.ca_file) {
        (Some(pem), _) => Some(pem.clone().into_bytes()),
        (None, Some(path)) => Some(holdfast_client::read_pem(path).map_err(|error| config(error.to_string()))?),
        (None, None) => None,
    };
    let client = Client::new(ClientConfig {
        address: server.address.clone(),
        ca_pem,
        tls_skip_verify: server.tls_skip_verify,
        tls_server_name: server.tls_server_name.clone(),
        timeout: server.timeout,
        ..ClientConfig::default()
    })
    .map_err(|error| config(error.to_string()))?;
    Ok(match &server.namespace {
        Some(namespace) => client.with_namespace(namespace),
        None => client,
    })
}

/// What the pod's token says about its bearer; empty if it cannot be read. For messages only.
pub fn service_account(jwt: &SecretString) -> String {
    let claims = jwt.expose().split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let text = |pointer: &str| claims.pointer(pointer).and_then(Value::as_str);
    match (text("/kubernetes.io/namespace"), text("/kubernetes.io/serviceaccount/name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => text("/sub").unwrap_or_default().trim_start_matches("system:serviceaccount:").replace(':', "/"),
    }
}

impl Session {
    /// Logs in, once.
    pub async fn login(client: &Client, auth: &Auth, jitter: &Jitter) -> Result<Self, Failure> {
        let mut session = Self {
            client: client.clone(),
            auth: auth.clone(),
            who: Who { role: auth.role.clone(), ..Who::default() },
            jitter: jitter.clone(),
            due: None,
            renewable: false,
            ttl: Duration::ZERO,
            logged_in: Instant::now(),
            failures: 0,
            relogins: 0,
        };
        session.log_in().await?;
        Ok(session)
    }

    /// The connection with the current token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// For messages.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// When [`Session::keep`] is to be called.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A request was refused: logs in again unless that was just done. True if there is a new token to try with.
    pub async fn refused(&mut self) -> bool {
        if self.logged_in.elapsed() < RELOGIN_PAUSE * (1 << self.relogins.min(6)) {
            return false;
        }
        self.relogins += 1;
        match self.log_in().await {
            Ok(()) => true,
            Err(failure) => {
                warn!(reason = %failure, "cannot log in again");
                false
            }
        }
    }

    /// Renews the token, or logs in anew where that is not possible. True if there is a new token.
    pub async fn keep(&mut self) -> bool {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return false;
        }
        if self.renewable {
            match self.client.write("auth/token/renew-self", json!({})).await {
                Ok(Some(envelope)) if envelope.auth.is_some() => {
                    let before = self.ttl;
                    self.accept(envelope.auth.as_ref());
                    // Less than before: the token nears its end, the next time is a login.
                    self.renewable &= self.ttl >= before.mul_f64(0.9);
                    return false;
                }
                Err(error) if error.is_transient() => {
                    self.postpone(&error.to_string());
                    return false;
                }
                // Refused: a login helps.
                _ => {}
            }
        }
        match self.log_in().await {
            Ok(()) => true,
            Err(failure) => {
                self.postpone(&failure.text);
                false
            }
        }
    }

    async fn log_in(&mut self) -> Result<(), Failure> {
        let jwt = read_token(&self.auth.token_path)?;
        self.who.service_account = service_account(&jwt);
        let (client, envelope) = self
            .client
            .login_kubernetes(&self.auth.mount, &self.auth.role, &jwt)
            .await
            .map_err(|error: ClientError| Failure::login(&error, &self.auth.mount, &self.who))?;
        self.client = client;
        self.logged_in = Instant::now();
        self.accept(envelope.auth.as_ref());
        info!(
            role = self.auth.role,
            service_account = self.who.service_account,
            policies = self.who.policies.join(" "),
            ttl_seconds = self.ttl.as_secs(),
            "logged in"
        );
        Ok(())
    }

    fn accept(&mut self, auth: Option<&AuthInfo>) {
        let Some(auth) = auth else { return };
        self.failures = 0;
        self.ttl = Duration::from_secs(auth.lease_duration);
        self.renewable = auth.renewable;
        self.due = (!self.ttl.is_zero()).then(|| Instant::now() + self.jitter.around(self.ttl, 2.0 / 3.0));
        self.who.policies.clone_from(&auth.policies);
    }

    fn postpone(&mut self, reason: &str) {
        self.failures += 1;
        let wait = self.jitter.after_failures(self.failures);
        self.due = Some(Instant::now() + wait);
        warn!(reason, retry_in_seconds = wait.as_secs_f64(), "cannot renew the token");
    }
}

fn read_token(path: &Path) -> Result<SecretString, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(SecretString::new(text.trim())),
        Err(error) => Err(Failure::new(Class::Auth, format!("the pod's token {}: {error}", path.display()))),
    }
}
