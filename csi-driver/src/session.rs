//! Logged in to the server as one service account: a pod's, by the token that kubelet sent, or the driver's own, by the
//! token in a file. Never one for the other.

use std::{path::PathBuf, sync::Arc, time::Duration};

use holdfast_base::Clock;
use holdfast_client::{Client, Error, advice};
use holdfast_secret::SecretString;
use parking_lot::Mutex;

use crate::status::Failure;

/// Where the service account token comes from.
enum Identity {
    Given(Mutex<Option<SecretString>>),
    File(PathBuf),
}

/// A login that is renewed when it is needed.
pub struct Session {
    server: Client,
    mount: String,
    role: String,
    /// `namespace/name` of the service account, for people.
    who: String,
    identity: Identity,
    /// The client that carries the server's token, and until when (boottime) to use it.
    current: tokio::sync::Mutex<Option<(Client, Duration)>>,
    clock: Arc<dyn Clock>,
}

impl Session {
    /// Of a pod. Without a token until [`Session::set_token`].
    pub fn of_pod(server: Client, mount: &str, role: &str, who: String, clock: Arc<dyn Clock>) -> Self {
        Self::new(server, mount, role, who, Identity::Given(Mutex::new(None)), clock)
    }

    /// Of the driver itself; the file is read at each login.
    pub fn of_driver(server: Client, mount: &str, role: &str, token: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self::new(server, mount, role, "the CSI driver".to_owned(), Identity::File(token), clock)
    }

    fn new(server: Client, mount: &str, role: &str, who: String, identity: Identity, clock: Arc<dyn Clock>) -> Self {
        let (mount, role) = (mount.to_owned(), role.to_owned());
        Self { server, mount, role, who, identity, current: tokio::sync::Mutex::new(None), clock }
    }

    /// Kubelet's newest token of the pod.
    pub fn set_token(&self, token: SecretString) {
        if let Identity::Given(given) = &self.identity {
            *given.lock() = Some(token);
        }
    }

    /// Whose session this is, for messages.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Runs a call with a token of the server. A 403 may mean that the token is no longer good, so there is one more try
    /// after a new login.
    pub async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (client, cached) = self.client().await?;
        match call(client).await {
            Err(error) if error.status() == Some(403) && cached => {
                *self.current.lock().await = None;
                Ok(call(self.client().await?.0).await?)
            }
            other => Ok(other?),
        }
    }

    /// A client with a token, and whether the token was there before.
    async fn client(&self) -> Result<(Client, bool), Failure> {
        let mut current = self.current.lock().await;
        if let Some((client, until)) = current.as_ref()
            && self.clock.boottime() < *until
        {
            return Ok((client.clone(), true));
        }
        let token = self.token()?;
        let login = self.server.login_kubernetes(&self.mount, &self.role, &token).await;
        let (client, envelope) = login.map_err(|error| self.refused(&error))?;
        let seconds = envelope.auth.map_or(0, |auth| auth.lease_duration);
        let lifetime = Duration::from_secs(if seconds == 0 { 3600 } else { seconds }).mul_f64(0.8);
        *current = Some((client.clone(), self.clock.boottime() + lifetime));
        Ok((client, false))
    }

    fn token(&self) -> Result<SecretString, Failure> {
        match &self.identity {
            Identity::Given(given) => given
                .lock()
                .as_ref()
                .map(SecretString::duplicate)
                .ok_or_else(|| Failure::Unavailable("waiting for kubelet to send the pod's token again".to_owned())),
            Identity::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(SecretString::new(text.trim())),
                Err(error) => Err(Failure::Node(format!("own token {}: {error}", path.display()))),
            },
        }
    }

    fn refused(&self, error: &Error) -> Failure {
        let role = if self.role.is_empty() { "chosen by the server".to_owned() } else { format!("{:?}", self.role) };
        let text = format!("logging in at auth/{} as {} (role {role}): {error}", self.mount, self.who);
        if error.is_transient() {
            return Failure::Unavailable(text);
        }
        // Where the server has said it already, once is enough.
        let asked = if text.contains("VaultPolicy") { "" } else { " Does a VaultPolicy name this service account?" };
        Failure::Denied(format!("{}.{asked} Try: kubectl get vaultpolicies -A", text.trim_end_matches(['.', '?'])))
    }
}

/// Why a call of a session came to nothing.
#[derive(Debug)]
pub enum CallError {
    /// There was no login.
    Login(Failure),
    /// The call itself.
    Server(Error),
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Login(failure)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl CallError {
    /// May it work later without anything being changed?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Login(failure) => failure.is_transient(),
            Self::Server(error) => error.is_transient(),
        }
    }

    /// In words for the pod's event: what was read, as whom, and what to try.
    pub fn reading(self, path: &str, who: &str) -> Failure {
        let error = match self {
            Self::Login(failure) => return failure,
            Self::Server(error) => error,
        };
        let account = who.trim_start_matches("service account ");
        match error.status() {
            Some(403) => Failure::Denied(format!(
                "permission denied reading {path} as {who} (403). {}",
                advice::grant(account, path)
            )),
            Some(404) => Failure::NotFound(format!(
                "nothing at {path} (404). Is the path complete (kv version 2 has data/ after the mount)?"
            )),
            _ if error.is_transient() => Failure::Unavailable(format!("reading {path}: {error}")),
            _ => Failure::Invalid(format!("reading {path} as {who}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::SystemClock;

    use super::*;

    fn refused(message: &str) -> String {
        let server = Client::new(holdfast_client::Config { address: "http://h:1".to_owned(), ..Default::default() });
        let who = "service account shop/orders".to_owned();
        let session = Session::of_pod(server.unwrap(), "kubernetes", "", who, Arc::new(SystemClock));
        let path = "auth/kubernetes/login".to_owned();
        session.refused(&Error::Status { status: 400, path, errors: vec![message.to_owned()] }).to_string()
    }

    #[test]
    fn a_refused_login_asks_for_a_policy_once() {
        for said in
            ["missing role: no VaultPolicy that is Ready names it as a subject", "is there a VaultPolicy?", "no."]
        {
            let text = refused(said);
            assert_eq!(text.matches("VaultPolicy").count(), 1, "{text}");
            assert!(!text.contains("?.") && !text.contains(".."), "{text}");
        }
    }

    #[test]
    fn an_absent_path_is_said_once_with_what_may_be_missing_in_it() {
        let error = Error::Status { status: 404, path: "kv/x".to_owned(), errors: vec!["no value here".to_owned()] };
        let text = CallError::Server(error).reading("kv/x", "service account shop/orders").to_string();
        assert_eq!(text, "nothing at kv/x (404). Is the path complete (kv version 2 has data/ after the mount)?");
    }
}
