//! Things with a number of uses: tokens with a use count, wrapped answers (one use), secret ids, and tokens that are used until
//! somebody revokes them. Who makes one shows it to the clients of all replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_client::{Answer, Call};
use holdfast_secret::SecretString;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Worker, json as document, post};
use crate::history::{Action, Outcome, Request};

/// Things on show at a time.
const ON_SHOW: usize = 8;
/// A thing is taken off the show after so many attempts.
const ATTEMPTS: usize = 14;

/// What is on show.
pub struct Things {
    role: String,
    shown: Mutex<Vec<Arc<Thing>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A token with a use count.
    Counted,
    /// A wrapped answer.
    Wrapped,
    /// A secret id with a use count.
    SecretId,
    /// A token that is revoked at some time.
    Revocable,
}

struct Thing {
    key: String,
    kind: Kind,
    secret: SecretString,
    attempts: AtomicUsize,
}

impl Things {
    /// None yet; secret ids are of the role with this id.
    pub fn new(role: String) -> Self {
        Self { role, shown: Mutex::default() }
    }
}

impl Worker {
    pub(super) async fn make_thing(&mut self) -> Outcome {
        let kinds = [Kind::Counted, Kind::Wrapped, Kind::SecretId, Kind::Revocable];
        let kind = kinds[self.dice.index(kinds.len())];
        let uses = 1 + self.dice.below(5);
        let (call, limit) = making(kind, uses);
        let begun = self.shared.history.now();
        let Some(answer) = self.ask(&self.client, call).await else { return Outcome::Unknown };
        let Some(secret) = made(kind, &document(&answer)) else { return self.strange("make", &answer) };
        let request = Request { key: self.name(name(kind)), action: Action::Make, limit, ..Request::default() };
        let thing = Thing { key: request.key.clone(), kind, secret, attempts: AtomicUsize::new(0) };
        self.shared.history.record(self.number, begun, request, Outcome::Ok);
        let mut shown = self.shared.things.shown.lock();
        if shown.len() >= ON_SHOW {
            let index = self.dice.index(shown.len());
            shown.swap_remove(index);
        }
        shown.push(Arc::new(thing));
        Outcome::Ok
    }

    pub(super) async fn use_thing(&mut self) -> Outcome {
        let thing = {
            let mut shown = self.shared.things.shown.lock();
            if shown.is_empty() {
                return Outcome::Refused;
            }
            let index = self.dice.index(shown.len());
            let thing = shown[index].clone();
            if thing.attempts.fetch_add(1, Ordering::Relaxed) >= ATTEMPTS {
                shown.swap_remove(index);
            }
            thing
        };
        let revokes = thing.kind == Kind::Revocable && self.dice.percent(12);
        let action = if revokes { Action::Revoke } else { Action::Use };
        let request = Request { key: thing.key.clone(), action, ..Request::default() };
        let begun = self.shared.history.now();
        let answer = match revokes {
            true => self.ask(&self.client, revocation(&thing)).await,
            false => self.try_use(&thing).await,
        };
        let outcome = match answer {
            None => Outcome::Unknown,
            Some(answer) if answer.status < 300 => Outcome::Ok,
            Some(answer) if !revokes && is_refusal(thing.kind, &answer) => Outcome::Refused,
            Some(answer) => self.strange(&format!("{action:?} of {:?}", thing.kind), &answer),
        };
        self.shared.history.record(self.number, begun, request, outcome);
        outcome
    }

    async fn try_use(&self, thing: &Thing) -> Option<Answer> {
        let with_it = || self.client.with_token(thing.secret.duplicate());
        match thing.kind {
            Kind::Counted | Kind::Revocable => {
                self.ask(&with_it(), Call { path: "auth/token/lookup-self".into(), ..Call::default() }).await
            }
            Kind::Wrapped => self.ask(&with_it(), post("sys/wrapping/unwrap".into(), json!({}))).await,
            Kind::SecretId => {
                let body = json!({"role_id": self.shared.things.role, "secret_id": thing.secret.expose()});
                self.ask(&self.client.without_token(), post("auth/approle/login".into(), body)).await
            }
        }
    }
}

fn making(kind: Kind, uses: u64) -> (Call, i64) {
    let limit = i64::try_from(uses).unwrap_or_default();
    let token = "auth/token/create".to_owned();
    match kind {
        Kind::Counted => (post(token, json!({"num_uses": uses, "policies": ["default"], "ttl": "10m"})), limit),
        Kind::Revocable => (post(token, json!({"policies": ["default"], "ttl": "10m"})), -1),
        Kind::SecretId => (post("auth/approle/role/chaos/secret-id".into(), json!({"num_uses": uses})), limit),
        Kind::Wrapped => {
            let headers = vec![("x-vault-wrap-ttl", "600".to_owned())];
            (Call { headers, ..post("sys/wrapping/wrap".into(), json!({"v": "wrapped"})) }, 1)
        }
    }
}

/// The secret out of the answer.
fn made(kind: Kind, answer: &Value) -> Option<SecretString> {
    let secret = match kind {
        Kind::Counted | Kind::Revocable => &answer["auth"]["client_token"],
        Kind::Wrapped => &answer["wrap_info"]["token"],
        Kind::SecretId => &answer["data"]["secret_id"],
    };
    secret.as_str().map(SecretString::new)
}

fn revocation(thing: &Thing) -> Call {
    post("auth/token/revoke".into(), json!({"token": thing.secret.expose()}))
}

/// Whether this is how a thing without uses left is refused.
fn is_refusal(kind: Kind, answer: &Answer) -> bool {
    match kind {
        Kind::Counted | Kind::Revocable => answer.status == 403,
        Kind::Wrapped | Kind::SecretId => matches!(answer.status, 400 | 403),
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counted => "token",
        Kind::Wrapped => "wrapped",
        Kind::SecretId => "secret-id",
        Kind::Revocable => "revocable",
    }
}
