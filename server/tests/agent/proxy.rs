//! The listener: requests of applications through the agent, cached, with conditions; its own paths.

use holdfast_client::{Answer, Call, Client};
use http::Method;
use serde_json::{Value, json};

use super::{APPROLE, Agent, Ground, until};
use crate::{
    clients::{python, source},
    fixture::{client, free_port},
};

/// Header of every SDK.
const ASKED: &str = "X-Vault-Request: true\r\n";

/// A running agent with a listener, and a client of it without token.
struct Proxy {
    ground: Ground,
    agent: Agent,
    client: Client,
}

impl Proxy {
    async fn new(more: &str) -> Self {
        let ground = Ground::new().await;
        ground.approle().await;
        ground.secret("app", json!({ "k": "one" })).await;
        let port = free_port();
        let listener = format!(
            "listener \"tcp\" {{ address = \"127.0.0.1:{port}\" tls_disable = true agent_api {{ enable_quit = true }} }}\n\
             listener \"unix\" {{ address = \"{{folder}}/agent.sock\" require_request_header = true }}\n"
        );
        let agent = ground.agent(&(APPROLE.to_owned() + &listener + more));
        until(|| ground.text("token").starts_with("hvs."), || agent.log()).await;
        Self { ground, agent, client: client(&format!("http://127.0.0.1:{port}")) }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        self.client.call(Call { method, path: path.to_owned(), body, ..Call::default() }).await.unwrap()
    }

    /// A request over the socket; the whole answer.
    async fn socket(&self, line: &str, headers: &str, body: &Value) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::UnixStream::connect(self.ground.path("agent.sock")).await.unwrap();
        let body = body.to_string();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn an_application_without_token_reads_what_the_agent_may_read() {
    let proxy = Proxy::new("api_proxy { use_auto_auth_token = true }\n").await;
    let read = proxy.client.read("secret/data/app").await.unwrap().unwrap();
    assert_eq!(read.data.unwrap()["data"]["k"], "one");
    // No more than that, and an own token is the own token.
    assert_eq!(proxy.call(Method::GET, "sys/mounts", Value::Null).await.status, 403);
    let own = proxy.client.with_token(holdfast_secret::SecretString::new("root"));
    assert!(own.read("sys/mounts").await.unwrap().is_some());

    let without = proxy.socket("GET /v1/secret/data/app", "", &Value::Null).await;
    assert!(without.starts_with("HTTP/1.1 412 ") && without.contains("missing 'X-Vault-Request' header"), "{without}");
    let with = proxy.socket("GET /v1/secret/data/app", ASKED, &Value::Null).await;
    assert!(with.starts_with("HTTP/1.1 200 ") && with.contains("\"k\":\"one\""), "{with}");
    let absent = proxy.socket("GET /agent/v1/nope", ASKED, &Value::Null).await;
    assert!(absent.starts_with("HTTP/1.1 404 "), "{absent}");
}

#[tokio::test]
async fn an_unmodified_sdk_needs_no_token() {
    let proxy = Proxy::new("cache {}\napi_proxy { use_auto_auth_token = true }\n").await;
    let mut program = python(&source("hvac/agent_test.py"));
    program
        .env("CLIENT_ADDR", proxy.client.address())
        .env_remove("VAULT_TOKEN")
        .current_dir(proxy.ground.folder.path());
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\nagent:\n{}", proxy.agent.log());
}

#[tokio::test]
async fn forced_the_agents_token_replaces_any_other() {
    let proxy = Proxy::new("api_proxy { use_auto_auth_token = \"force\" }\n").await;
    let other = proxy.client.with_token(holdfast_secret::SecretString::new("nonsense"));
    assert!(other.read("secret/data/app").await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_made_through_the_agent_is_answered_again_until_it_is_revoked_or_cleared() {
    let proxy = Proxy::new("cache {}\napi_proxy { use_auto_auth_token = true }\n").await;
    let policy = r#"path "auth/token/create" { capabilities = ["update"] } path "auth/token/revoke" { capabilities = ["update"] }"#;
    proxy.ground.put("sys/policies/acl/default", json!({ "policy": policy })).await;
    let make = || async {
        let answer = proxy.call(Method::PUT, "auth/token/create", json!({ "ttl": "5m" })).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["auth"]["client_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    };
    // Even at the same time it is one request to the server.
    let (first, same) = tokio::join!(make(), make());
    assert_eq!(first, same);
    assert_eq!(make().await, first);

    let clear = async |what: Value| proxy.socket("POST /agent/v1/cache-clear", ASKED, &what).await;
    let cleared = clear(json!({ "type": "token", "value": first })).await;
    assert!(cleared.starts_with("HTTP/1.1 200 "), "{cleared}");
    let second = make().await;
    assert_ne!(second, first);
    assert_eq!(proxy.call(Method::PUT, "auth/token/revoke", json!({ "token": second })).await.status, 204);
    assert_ne!(make().await, second);
    for (wrong, status) in [(json!({ "type": "moon" }), 400), (json!({ "type": "all" }), 200)] {
        let answer = clear(wrong).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }

    let text = proxy.socket("GET /agent/v1/metrics", "", &Value::Null).await;
    assert!(text.contains("holdfast_agent_cache_total{result=\"hit\"}"), "{text}");
    assert!(text.contains("holdfast_agent_logins_total{result=\"ok\"} 1"), "{text}");
}

#[tokio::test]
async fn quit_ends_the_agent() {
    let mut proxy = Proxy::new("").await;
    let quit = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["agent", "quit", "-config", proxy.ground.path("agent.hcl").to_str().unwrap()])
        .output()
        .unwrap();
    assert!(quit.status.success(), "{}", String::from_utf8_lossy(&quit.stderr));
    assert!(proxy.agent.ended().await.success());
}
