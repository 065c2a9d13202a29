//! Registers: secrets of kv v2, read, written, and written over a version.

use holdfast_client::{Answer, Call};
use serde_json::json;

use super::{Worker, json as document, post};
use crate::history::{Action, Outcome, Request};

/// Registers that are in use at a time.
const AT_A_TIME: u64 = 3;
/// Others follow after so long: a short history is judged fast.
const EPOCH_NS: i64 = 3_000_000_000;

/// Of the name of each register.
const PREFIX: &str = "register-";

/// Whether a secret is a register.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// What a read says about the register. `None` if it says nothing.
pub fn read_of(name: &str, answer: &Answer) -> Option<Request> {
    let key = format!("kv/{name}");
    match answer.status {
        200 => {
            let data = document(answer)["data"].clone();
            let version = data["metadata"]["version"].as_u64()?;
            Some(Request { key, version, value: data["data"]["v"].as_str()?.to_owned(), ..Request::default() })
        }
        404 => Some(Request { key, ..Request::default() }),
        _ => None,
    }
}

impl Worker {
    pub(super) async fn use_register(&mut self) -> Outcome {
        let epoch = self.shared.history.now() / EPOCH_NS;
        let name = format!("{PREFIX}{}-{epoch}", self.dice.below(AT_A_TIME));
        match self.dice.below(100) {
            0..45 => self.read_register(name).await,
            45..92 => self.write_register(name, true).await,
            _ => self.write_register(name, false).await,
        }
    }

    async fn read_register(&mut self, name: String) -> Outcome {
        let call = self.shared.history.now();
        let Some(answer) = self.ask(&self.client, Call { path: format!("kv/data/{name}"), ..Call::default() }).await
        else {
            return Outcome::Unknown;
        };
        let Some(request) = read_of(&name, &answer) else { return self.strange("read", &answer) };
        self.seen.insert(name, request.version);
        self.shared.history.record(self.number, call, request, Outcome::Ok);
        Outcome::Ok
    }

    async fn write_register(&mut self, name: String, over_a_version: bool) -> Outcome {
        let cas = self.seen.get(&name).copied().unwrap_or_default();
        let value = self.name("v");
        let (action, options) = match over_a_version {
            true => (Action::Cas, json!({"cas": cas})),
            false => (Action::Write, json!({})),
        };
        let mut request = Request { key: format!("kv/{name}"), action, cas, value, ..Request::default() };
        let body = json!({"options": options, "data": {"v": request.value}});
        let call = self.shared.history.now();
        let outcome = match self.ask(&self.client, post(format!("kv/data/{name}"), body)).await {
            None => Outcome::Unknown,
            Some(answer) if answer.status == 200 => {
                request.version = document(&answer)["data"]["version"].as_u64().unwrap_or_default();
                self.seen.insert(name, request.version);
                Outcome::Ok
            }
            Some(answer) if answer.status == 400 && answer.body.windows(13).any(|part| part == b"check-and-set") => {
                // The next reads what is there.
                Outcome::Refused
            }
            Some(answer) => self.strange("write", &answer),
        };
        self.shared.history.record(self.number, call, request, outcome);
        outcome
    }
}
