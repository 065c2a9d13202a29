//! What the cache of the listener keeps: leases and tokens, how they are renewed, and what makes it forget them.

use holdfast_agent::{config::Config, failure::Failure};
use holdfast_client::Client;
use holdfast_secret::SecretString;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::life::{Pod, until};

const CREDS: &str = "database/creds/ro";

/// An agent with a cache, and a client of its listener without token.
struct Cached {
    pod: Pod,
    client: Client,
    agent: JoinHandle<Result<u8, Failure>>,
}

impl Drop for Cached {
    fn drop(&mut self) {
        self.agent.abort();
    }
}

impl Cached {
    /// Leases have `ttl` seconds, and `most` that renewals may add.
    async fn new(ttl: u64, most: u64) -> Self {
        let pod = Pod::new().await;
        {
            let mut world = pod.server.world.lock().unwrap();
            world.no_pod = true;
            world.leased.insert(CREDS.to_owned(), (ttl, most));
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config: Value = serde_json::to_value(pod.config(&[])).unwrap();
        config["listeners"] = json!([{ "address": { "tcp": format!("127.0.0.1:{port}") } }]);
        config["proxy"] = json!({ "use_token": "missing", "cache": true });
        let agent = Pod::run(Config::from_json(&config.to_string()).unwrap());
        until("logged in", 5, || pod.server.world.lock().unwrap().logins == 1).await;
        let client = holdfast_client::Config { address: format!("http://127.0.0.1:{port}"), ..Default::default() };
        Self { pod, client: Client::new(client).unwrap(), agent }
    }

    /// The answer, and what `x-cache` says of it.
    async fn ask(&self, client: &Client, method: Method, path: &str, body: &Value) -> (Value, bool) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        for _ in 0..100 {
            let answer = client.forward(method.clone(), path, &HeaderMap::new(), body.clone().into()).await.unwrap();
            // The listener is there before the login.
            if answer.status == 503 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                continue;
            }
            assert!(answer.status.is_success(), "{path}: {}", answer.status);
            let hit = answer.headers.get("x-cache").is_some_and(|value| value == "HIT");
            return (serde_json::from_slice(&answer.body).unwrap_or_default(), hit);
        }
        panic!("not logged in");
    }

    /// The user of a leased read.
    async fn user(&self, client: &Client) -> (String, bool) {
        let (answer, hit) = self.ask(client, Method::GET, &format!("/v1/{CREDS}"), &Value::Null).await;
        (answer["data"]["username"].as_str().unwrap().to_owned(), hit)
    }

    async fn token(&self) -> (Client, Value) {
        let (answer, _) = self.ask(&self.client, Method::PUT, "/v1/auth/token/create", &json!({})).await;
        let auth = answer["auth"].clone();
        (self.client.with_token(SecretString::new(auth["client_token"].as_str().unwrap())), auth)
    }

    async fn clear(&self, kind: &str, value: &str) {
        let what = json!({ "type": kind, "value": value });
        self.ask(&self.client, Method::POST, "/agent/v1/cache-clear", &what).await;
    }

    fn renewals(&self) -> usize {
        self.pod.server.world.lock().unwrap().renewals
    }
}

#[tokio::test]
async fn a_lease_is_renewed_by_the_agent_and_answered_again_until_its_longest_life() {
    let cached = Cached::new(2, 4).await;
    let first = cached.user(&cached.client).await;
    assert_eq!((first.0.as_str(), first.1), ("u1", false));
    assert_eq!(cached.user(&cached.client).await, ("u1".to_owned(), true));
    until("a renewal", 5, || cached.renewals() >= 1).await;
    assert_eq!(cached.user(&cached.client).await, ("u1".to_owned(), true));
    // Renewals give less and less: before the end another one is asked for, and not by the agent.
    let begun = tokio::time::Instant::now();
    while cached.user(&cached.client).await.0 == "u1" {
        assert!(begun.elapsed().as_secs() < 10, "the lease is over");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(cached.pod.server.world.lock().unwrap().minted, 2);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_forgotten() {
    let cached = Cached::new(2, 1000).await;
    cached.user(&cached.client).await;
    cached.pod.server.world.lock().unwrap().renewals_fail = Some(400);
    until("the renewal", 5, || cached.renewals() == 1).await;
    let begun = tokio::time::Instant::now();
    while cached.user(&cached.client).await.0 == "u1" {
        assert!(begun.elapsed().as_secs() < 5, "still answered");
    }
}

#[tokio::test]
async fn leases_are_forgotten_by_path_by_lease_and_by_revocation() {
    let cached = Cached::new(3, 1000).await;
    let again = async || cached.user(&cached.client).await;
    assert_eq!(again().await, ("u1".to_owned(), false));
    cached.clear("request_path", "/v1/database/creds/other").await;
    cached.clear("lease", "database/creds/ro/7").await;
    assert_eq!(again().await, ("u1".to_owned(), true), "others were meant");
    cached.clear("request_path", &format!("/v1/{CREDS}")).await;
    assert_eq!(again().await, ("u2".to_owned(), false));
    cached.clear("lease", "database/creds/ro/2").await;
    assert_eq!(again().await, ("u3".to_owned(), false));

    cached.pod.server.world.lock().unwrap().kv.insert("sys/leases/revoke".to_owned(), Value::Null);
    let lease = json!({ "lease_id": "database/creds/ro/3" });
    cached.ask(&cached.client, Method::PUT, "/v1/sys/leases/revoke", &lease).await;
    assert_eq!(again().await, ("u4".to_owned(), false));
    cached.clear("all", "").await;
    // What is forgotten is renewed no more.
    let renewals = cached.renewals();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(cached.renewals(), renewals);
}

#[tokio::test]
async fn a_token_is_forgotten_with_all_that_it_made() {
    let cached = Cached::new(3600, 86_400).await;
    let (own, auth) = cached.token().await;
    assert_eq!(cached.token().await.1, auth, "the same request");
    let (_, hit) = cached.user(&own).await;
    assert!(!hit && cached.user(&own).await.1, "what it made is kept");
    assert!(!cached.user(&cached.client).await.1, "another token is another request");
    cached.clear("token_accessor", "a7").await;
    assert!(cached.user(&own).await.1);
    cached.clear("token_accessor", auth["accessor"].as_str().unwrap()).await;
    assert!(!cached.user(&own).await.1 && cached.user(&cached.client).await.1);
    let (other, second) = cached.token().await;
    assert_ne!(second, auth);
    // A lease of a token that the agent knows nothing of is nobody's to keep.
    cached.user(&other).await;
    assert!(cached.user(&other).await.1);
    cached.clear("token", second["client_token"].as_str().unwrap()).await;
    assert!(!cached.user(&other).await.1 && !cached.user(&other).await.1);
}
