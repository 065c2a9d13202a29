//! Leases and tokens that were made through the agent: kept, renewed, and the answer to the same request, until renewal ends
//! or somebody revokes them. Requests that are the same and come together are one request to the server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use holdfast_client::{Client, Error, Forwarded};
use holdfast_secret::SecretString;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{task::AbortHandle, time::Instant};
use tracing::debug;

/// Most answers that are kept.
const MAX_ENTRIES: usize = 4096;
/// Between attempts to renew while the server is away.
const RETRY: Duration = Duration::from_secs(5);
/// Part of its life after which something is renewed.
const FRACTION: f64 = 2.0 / 3.0;

type Key = [u8; 32];
type Flight = Shared<BoxFuture<'static, Result<Forwarded, Arc<Error>>>>;

/// A request.
pub(super) struct Asked {
    pub(super) client: Client,
    /// Does it carry the agent's token?
    pub(super) agents: bool,
    pub(super) token: Option<SecretString>,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What to forget.
pub(super) enum Clear<'a> {
    All,
    Path(&'a str),
    Lease(&'a str),
    Token(&'a str),
    Accessor(&'a str),
}

/// The cache.
pub(super) struct Cache {
    /// To the server, without token.
    unnamed: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    flights: HashMap<Key, Flight>,
}

struct Entry {
    answer: Forwarded,
    /// Below `/v1/`, without query.
    path: String,
    made_by: Key,
    lease_id: String,
    /// Hash of the token that was made.
    token: Option<Key>,
    accessor: String,
    renewal: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// What an answer holds that has a life.
struct Living {
    lease_id: String,
    token: Option<SecretString>,
    accessor: String,
    ttl: Duration,
    renewable: bool,
}

impl Cache {
    pub(super) fn new(unnamed: Client) -> Self {
        Self { unnamed, state: Mutex::default() }
    }

    /// The answer, and whether it was here.
    pub(super) async fn answer(self: &Arc<Self>, asked: Asked) -> Result<(Forwarded, bool), Arc<Error>> {
        let key = key_of(&asked);
        let made_by = hash(&[asked.token.as_ref().map_or("", SecretString::expose).as_bytes()]);
        let alone = !(matches!(asked.method.as_str(), "GET" | "HEAD" | "LIST") || makes_token(&asked.target));
        let flight = {
            let mut state = self.state();
            if let Some(entry) = state.entries.get(&key) {
                return Ok((entry.answer.clone(), true));
            }
            let managed = asked.agents || state.entries.values().any(|entry| entry.token == Some(made_by));
            let managed = managed || (asked.token.is_none() && makes_token(&asked.target));
            match state.flights.get(&key) {
                Some(flight) => flight.clone(),
                None => {
                    let cache = self.clone();
                    let flight = async move { cache.fly(key, made_by, managed, asked).await }.boxed().shared();
                    if !alone {
                        state.flights.insert(key, flight.clone());
                    }
                    flight
                }
            }
        };
        flight.await.map(|answer| (answer, false))
    }

    async fn fly(
        self: Arc<Self>,
        key: Key,
        made_by: Key,
        managed: bool,
        asked: Asked,
    ) -> Result<Forwarded, Arc<Error>> {
        let body = asked.body.clone();
        let answer = asked.client.forward(asked.method.clone(), &asked.target, &asked.headers, body).await;
        let mut state = self.state();
        state.flights.remove(&key);
        let answer = answer.map_err(Arc::new)?;
        if answer.status.is_success() {
            state.forget_revoked(&asked, made_by);
            if managed
                && state.entries.len() < MAX_ENTRIES
                && let Some(living) = Living::of(&answer)
            {
                let entry = self.clone().entry(key, made_by, &asked, answer.clone(), living);
                state.entries.insert(key, entry);
            }
        }
        Ok(answer)
    }

    fn entry(self: Arc<Self>, key: Key, made_by: Key, asked: &Asked, answer: Forwarded, living: Living) -> Entry {
        let token = living.token.as_ref().map(|token| hash(&[token.expose().as_bytes()]));
        let renewing = match (&living.token, &asked.token) {
            (Some(token), _) | (None, Some(token)) => self.unnamed.with_token(token.duplicate()),
            (None, None) => self.unnamed.clone(),
        };
        let (lease_id, accessor) = (living.lease_id.clone(), living.accessor.clone());
        let cache = Arc::downgrade(&self);
        let renewal = tokio::spawn(async move {
            renew(&renewing, &living).await;
            if let Some(cache) = cache.upgrade() {
                debug!(lease = living.lease_id, "no longer cached");
                cache.state().entries.remove(&key);
            }
        });
        let path = path_of(&asked.target).to_owned();
        Entry { answer, path, made_by, lease_id, token, accessor, renewal: renewal.abort_handle() }
    }

    /// Forgets, and says how many.
    pub(super) fn clear(&self, which: &Clear<'_>) -> usize {
        let mut state = self.state();
        let before = state.entries.len();
        match which {
            Clear::All => state.entries.clear(),
            Clear::Path(path) => {
                let path = path.trim_start_matches('/').trim_start_matches("v1/");
                state.entries.retain(|_, entry| entry.path != path);
            }
            Clear::Lease(lease) => state.entries.retain(|_, entry| entry.lease_id != *lease),
            Clear::Token(token) => state.forget_token(hash(&[token.as_bytes()])),
            Clear::Accessor(accessor) => {
                let found = state.entries.values().find(|entry| entry.accessor == *accessor);
                if let Some(token) = found.and_then(|entry| entry.token) {
                    state.forget_token(token);
                }
            }
        }
        before - state.entries.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A token, what it made, and so on.
    fn forget_token(&mut self, token: Key) {
        let mut gone = vec![token];
        while let Some(token) = gone.pop() {
            let mine = |entry: &Entry| entry.token == Some(token) || entry.made_by == token;
            gone.extend(
                self.entries
                    .values()
                    .filter(|entry| mine(entry))
                    .filter_map(|entry| entry.token)
                    .filter(|made| *made != token),
            );
            self.entries.retain(|_, entry| !mine(entry));
        }
    }

    /// A revocation that went through the agent.
    fn forget_revoked(&mut self, asked: &Asked, made_by: Key) {
        let path = path_of(&asked.target);
        let body: Value =
            if path.contains("revoke") { serde_json::from_slice(&asked.body).unwrap_or_default() } else { Value::Null };
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        match path {
            "auth/token/revoke" | "auth/token/revoke-orphan" => self.forget_token(hash(&[text("token").as_bytes()])),
            "auth/token/revoke-self" => self.forget_token(made_by),
            "auth/token/revoke-accessor" => {
                let found = self.entries.values().find(|entry| entry.accessor == text("accessor"));
                if let Some(token) = found.and_then(|entry| entry.token) {
                    self.forget_token(token);
                }
            }
            _ => {
                for start in ["sys/leases/revoke-prefix/", "sys/leases/revoke-force/", "sys/revoke-prefix/"] {
                    if let Some(prefix) = path.strip_prefix(start) {
                        self.entries
                            .retain(|_, entry| entry.lease_id.is_empty() || !entry.lease_id.starts_with(prefix));
                    }
                }
                if let Some(rest) = path.strip_prefix("sys/leases/revoke").or_else(|| path.strip_prefix("sys/revoke")) {
                    let lease = if rest.is_empty() { text("lease_id") } else { rest.trim_start_matches('/') };
                    self.entries.retain(|_, entry| entry.lease_id.is_empty() || entry.lease_id != lease);
                }
            }
        }
    }
}

impl Living {
    fn of(answer: &Forwarded) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let auth = &body["auth"];
        if auth.is_object() {
            let token = text(&auth["client_token"]);
            return (!token.is_empty()).then(|| Self {
                lease_id: String::new(),
                token: Some(SecretString::new(token)),
                accessor: text(&auth["accessor"]),
                ttl: Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or(0)),
                renewable: auth["renewable"].as_bool().unwrap_or(false),
            });
        }
        let (lease_id, ttl) = (text(&body["lease_id"]), body["lease_duration"].as_u64().unwrap_or(0));
        (!lease_id.is_empty() && ttl > 0).then(|| Self {
            lease_id,
            token: None,
            accessor: String::new(),
            ttl: Duration::from_secs(ttl),
            renewable: body["renewable"].as_bool().unwrap_or(false),
        })
    }
}

/// Renews at two thirds as long as that gives more time; ends when it is time to ask for another one.
async fn renew(client: &Client, living: &Living) {
    if living.ttl.is_zero() {
        // A token without end, as root's.
        return std::future::pending().await;
    }
    let (mut ttl, mut ends) = (living.ttl, Instant::now() + living.ttl);
    loop {
        let wait = ttl.mul_f64(FRACTION).max(Duration::from_millis(500));
        tokio::time::sleep_until((Instant::now() + wait).min(ends)).await;
        if Instant::now() >= ends {
            return;
        }
        if !living.renewable {
            // The rest is too short to hand it out.
            return;
        }
        let sent = Instant::now();
        let answer = match &living.token {
            Some(_) => client.write("auth/token/renew-self", json!({})).await,
            None => client.renew_lease(&living.lease_id, None).await.map(Some),
        };
        match answer {
            Ok(envelope) => {
                let seconds = envelope
                    .map_or(0, |envelope| envelope.auth.map_or(envelope.lease_duration, |auth| auth.lease_duration));
                let granted = Duration::from_secs(seconds);
                if sent + granted <= ends + Duration::from_secs(1) && granted < living.ttl.mul_f64(0.9) {
                    // No longer prolonged: near the end of its longest life.
                    return;
                }
                (ttl, ends) = (granted, sent + granted);
            }
            Err(error) if error.is_transient() => {
                tokio::time::sleep_until((Instant::now() + RETRY).min(ends)).await;
                ttl = Duration::ZERO;
                if Instant::now() >= ends {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Logins, and tokens made by tokens.
fn makes_token(target: &str) -> bool {
    let path = path_of(target);
    path.starts_with("auth/token/create") || (path.starts_with("auth/") && (path.contains("/login")))
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default().trim_start_matches("/v1/")
}

/// All that the answer may depend on.
fn key_of(asked: &Asked) -> Key {
    let mut parts: Vec<Vec<u8>> = vec![
        asked.method.as_str().into(),
        asked.target.as_bytes().into(),
        asked.body.to_vec(),
        asked.token.as_ref().map_or("", SecretString::expose).as_bytes().into(),
    ];
    let mut named: Vec<_> = asked
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-vault-") || name.as_str().starts_with("x-holdfast-"))
        .map(|(name, value)| [name.as_str().as_bytes(), b":", value.as_bytes()].concat())
        .collect();
    named.sort();
    parts.extend(named);
    hash(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn hash(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
