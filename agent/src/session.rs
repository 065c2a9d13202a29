//! The login: made with what the method shows (the pod's projected token, say), renewed at two thirds, made anew when it
//! cannot be renewed. Bound leases do not hang on it.

mod credential;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use holdfast_api_types::AuthInfo;
use holdfast_client::{Client, Config as ClientConfig, Error as ClientError};
use holdfast_secret::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use self::credential::{Kept, Shown};
use crate::{
    backoff::Jitter,
    config::{Auth, Method, Server},
    failure::{Class, Failure, Who},
};

/// Shortest time from a login to another one because of a refusal. Doubles with each, up to five minutes: a path that
/// stays forbidden must not cost a token a second.
const RELOGIN_PAUSE: Duration = Duration::from_secs(5);

/// A logged-in connection.
pub struct Session {
    client: Client,
    server: Server,
    auth: Auth,
    kept: Kept,
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
    let pem = |path| holdfast_client::read_pem(path).map_err(|error| config(error.to_string()));
    let identity_pem = match &server.client_certificate {
        Some((chain, key)) => Some((pem(chain)?, pem(key)?)),
        None => None,
    };
    let client = Client::new(ClientConfig {
        address: server.address.clone(),
        ca_pem: server.ca_pem.clone().map(String::into_bytes),
        // Read again when it changes. What is given as text counts more.
        ca_file: server.ca_file.clone().filter(|_| server.ca_pem.is_none()),
        identity_pem,
        tls_skip_verify: server.tls_skip_verify,
        tls_server_name: server.tls_server_name.clone(),
        timeout: server.timeout,
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
    pub async fn login(server: &Server, auth: &Auth, jitter: &Jitter) -> Result<Self, Failure> {
        let mut session = Self::new(server, auth, jitter)?;
        session.log_in().await?;
        Ok(session)
    }

    /// Not logged in yet.
    pub fn new(server: &Server, auth: &Auth, jitter: &Jitter) -> Result<Self, Failure> {
        let mut server = server.clone();
        if let Method::Cert { files: Some(files) } = &auth.method {
            server.client_certificate = Some(files.clone());
        }
        Ok(Self {
            client: connect(&server)?,
            server,
            auth: auth.clone(),
            kept: Kept::default(),
            who: Who { role: auth.role.clone(), kubernetes: auth.method == Method::Kubernetes, ..Who::default() },
            jitter: jitter.clone(),
            due: None,
            renewable: false,
            ttl: Duration::ZERO,
            logged_in: Instant::now(),
            failures: 0,
            relogins: 0,
        })
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

    /// Logs in, whatever there is.
    pub async fn log_in(&mut self) -> Result<(), Failure> {
        if matches!(self.auth.method, Method::Cert { .. }) {
            // Certificates are short-lived: those of today are in the files.
            self.client = connect(&self.server)?;
        }
        let client = match &self.auth.namespace {
            Some(namespace) => self.client.with_namespace(namespace),
            None => self.client.clone(),
        };
        let (shown, bearer) = self.kept.read(&client, &self.auth).await?;
        self.who.service_account = bearer.as_ref().map(service_account).unwrap_or_default();
        let failed = |error: ClientError| Failure::login(&error, &self.auth.mount, &self.who);
        let auth = match shown {
            Shown::Body(body) => {
                let (client, envelope) = client.login(&self.auth.mount, body).await.map_err(failed)?;
                let token = client.token().map(SecretString::duplicate).unwrap_or_default();
                self.client = self.client.with_token(token);
                envelope.auth
            }
            Shown::Token(token) => {
                let client = self.client.with_token(token);
                let found = credential::look_up(&client).await.map_err(failed)?;
                self.client = client;
                Some(found)
            }
        };
        self.logged_in = Instant::now();
        let metadata = auth.as_ref().and_then(|auth| auth.metadata.as_ref());
        self.who.pod = metadata.is_some_and(|metadata| metadata.contains_key("pod_uid"));
        self.accept(auth.as_ref());
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
