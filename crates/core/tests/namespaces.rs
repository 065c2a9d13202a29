//! Namespaces: what they are apart in, and what is the same.

mod delete;
mod foreign;
mod place;

use holdfast_core::{Answer, Error, Verb};
use serde_json::{Map, Value, json};

use crate::bench::{Bench, data, envelope};

/// Requests in a namespace, by root unless another token is given.
pub struct Space<'b> {
    pub bench: &'b Bench,
    pub path: String,
    pub id: String,
}

impl<'b> Space<'b> {
    /// A new namespace with a mount of the probe, and a method that lets everyone in.
    pub async fn new(bench: &'b Bench, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let answer = bench.within(parent, &bench.root, Verb::Write, &format!("sys/namespaces/{name}"), json!({})).await;
        let id = data(envelope(path, answer))["id"].as_str().unwrap().to_owned();
        let space = Self { bench, path: path.to_owned(), id };
        space.write("sys/mounts/probe", json!({"type": "probe"})).await;
        space.write("sys/auth/door", json!({"type": "door"})).await;
        let reads = r#"path "probe/*" { capabilities = ["read", "update", "create"] }"#;
        space.write("sys/policies/acl/app", json!({ "policy": reads })).await;
        space
    }

    pub async fn answer(&self, token: &str, verb: Verb, path: &str, body: Value) -> Answer {
        self.bench.within(&self.path, token, verb, path, body).await
    }

    pub async fn ask(
        &self,
        token: &str,
        verb: Verb,
        path: &str,
        body: Value,
    ) -> holdfast_api_types::Envelope<holdfast_logical::Data> {
        envelope(path, self.answer(token, verb, path, body).await)
    }

    pub async fn write(&self, path: &str, body: Value) {
        self.ask(&self.bench.root, Verb::Write, path, body).await;
    }

    pub async fn read(&self, path: &str) -> Map<String, Value> {
        data(self.ask(&self.bench.root, Verb::Read, path, json!({})).await)
    }

    pub async fn fails(&self, token: &str, verb: Verb, path: &str, body: Value) -> Error {
        match self.answer(token, verb, path, body).await {
            Answer::Error(error) => error,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// A token of the namespace with these policies.
    pub async fn token(&self, policies: &[&str]) -> holdfast_api_types::AuthInfo {
        let body = json!({ "policies": policies });
        self.ask(&self.bench.root, Verb::Write, "auth/token/create", body).await.auth.unwrap()
    }
}

pub fn text(answer: &Answer) -> String {
    match answer {
        Answer::Error(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
