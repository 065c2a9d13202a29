//! The mixed requests of the soak: values, logins, tokens, wrapping, refusals and mistakes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use holdfast_client::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How an answered request is found in the log: by a path that no other request has, or by the id in its answer.
#[derive(Clone, Debug)]
pub enum Answered {
    Path(String),
    Id(String),
}

/// What the workers share.
pub struct Work {
    pub root: String,
    pub next: AtomicUsize,
    pub answered: Mutex<Vec<Answered>>,
    /// How many were refused by the rate limit.
    pub limited: AtomicUsize,
    /// Refused, as a device or the store did not answer in time: this machine has other work too.
    pub late: AtomicUsize,
}

/// One request as it is sent.
struct Request {
    method: &'static str,
    path: String,
    token: String,
    headers: &'static str,
    body: String,
}

/// Mounts, users and limits that the mix needs.
pub async fn furnish(root: &Client) {
    root.write("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    root.write("sys/mounts/limited", json!({"type": "kv"})).await.unwrap();
    root.write("sys/quotas/config", json!({"enable_rate_limit_audit_logging": true})).await.unwrap();
    let limit = json!({"path": "limited/", "rate": 1, "interval": "10s"});
    root.write("sys/quotas/rate-limit/limited", limit).await.unwrap();
    root.write("sys/auth/userpass", json!({"type": "userpass"})).await.unwrap();
    root.write("auth/userpass/users/ada", json!({"password": "canary-password"})).await.unwrap();
    root.write("sys/auth/approle", json!({"type": "approle"})).await.unwrap();
    root.write("auth/approle/role/app", json!({"role_id": "app", "token_ttl": "1h"})).await.unwrap();
    let secret_id = json!({"secret_id": "canary-secret-id"});
    root.write("auth/approle/role/app/custom-secret-id", secret_id).await.unwrap();
}

/// The nth request. Each path is its own, except where the answer has an id.
fn request(n: usize, root: &str) -> Request {
    let of = |method, path: String, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Request { method, path, token: root.to_owned(), headers: "", body }
    };
    let data = json!({"data": {"password": format!("canary-{n}"), "n": n}});
    let wrap = "X-Vault-Wrap-TTL: 5m\r\n";
    match n % 20 {
        0 | 1 => of("POST", format!("secret/data/w-{n}"), data),
        2 => of("GET", format!("secret/data/r-{n}"), Value::Null),
        3 => of("LIST", format!("secret/metadata/l-{n}"), Value::Null),
        4 => of("DELETE", format!("secret/data/d-{n}"), Value::Null),
        5 => Request { token: "hvs.nobody".to_owned(), ..of("GET", format!("secret/data/denied-{n}"), Value::Null) },
        6 => of("GET", format!("nowhere/{n}"), Value::Null),
        7 => Request { body: "{".to_owned(), ..of("POST", format!("secret/data/malformed-{n}"), Value::Null) },
        8 => of("POST", format!("auth/token/roles/role-{n}"), json!({"period": "1h"})),
        9 => of("HELP", format!("secret/data/help-{n}"), Value::Null),
        10 => of("GET", format!("limited/x-{n}"), Value::Null),
        11 => {
            of("POST", "auth/token/create".to_owned(), json!({"type": "batch", "ttl": "1h", "policies": ["default"]}))
        }
        12 => Request { headers: wrap, ..of("POST", format!("secret/data/wrapped-{n}"), data) },
        13 => {
            let body = json!({"role_id": "app", "secret_id": "canary-secret-id"});
            Request { token: String::new(), ..of("POST", "auth/approle/login".to_owned(), body) }
        }
        // One in five: the hash of a password takes its time.
        14 if n % 100 == 14 => {
            let body = json!({"password": "canary-password"});
            Request { token: String::new(), ..of("POST", "auth/userpass/login/ada".to_owned(), body) }
        }
        14 => of("POST", format!("cubbyhole/c-{n}"), json!({"a": format!("canary-{n}")})),
        15 => of("POST", "auth/token/create".to_owned(), json!({"ttl": "1h", "policies": ["default"]})),
        16 => of("POST", format!("secret/metadata/m-{n}"), json!({"custom_metadata": {"a": "b"}})),
        17 => of("PATCH", format!("secret/data/p-{n}"), data),
        18 => of("POST", format!("identity/entity/name/e-{n}"), json!({"metadata": {"n": n.to_string()}})),
        _ => of("GET", format!("sys/policies/acl/p-{n}"), Value::Null),
    }
}

/// What is asked with the token of an answer: a batch token shows itself, a wrapping token is opened.
fn following(n: usize, answer: &Value) -> Option<Request> {
    let (method, path, token) = match n % 20 {
        _ if answer.is_null() => return None,
        11 => ("GET", "auth/token/lookup-self", &answer["auth"]["client_token"]),
        12 => ("POST", "sys/wrapping/unwrap", &answer["wrap_info"]["token"]),
        _ => return None,
    };
    let token = token.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    Some(Request { method, path: path.to_owned(), token, headers: "", body: String::new() })
}

/// One request over a connection that is kept open. Answered means that the whole answer is here.
async fn ask(connection: &mut TcpStream, request: &Request) -> std::io::Result<(u16, Vec<u8>)> {
    let Request { method, path, token, headers, body } = request;
    let kind = if *method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let head = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\n{headers}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let (begin, length): (usize, usize) = (end + 4, length.unwrap_or(0));
            while answer.len() < begin + length {
                if connection.read_buf(&mut answer).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok((status, answer.split_off(begin)));
        }
        if connection.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Work {
    pub fn new(root: &str) -> Arc<Self> {
        Arc::new(Self {
            root: root.to_owned(),
            next: AtomicUsize::new(0),
            answered: Mutex::default(),
            limited: AtomicUsize::new(0),
            late: AtomicUsize::new(0),
        })
    }

    /// Asks until so many requests were made in all, or the server is gone.
    pub async fn run(self: Arc<Self>, port: u16, until: usize) {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= until {
                return;
            }
            let first = request(n, &self.root);
            let Ok(answer) = self.asked(&mut connection, first, n).await else { return };
            if let Some(second) = following(n, &answer)
                && self.asked(&mut connection, second, n).await.is_err()
            {
                return;
            }
        }
    }

    /// Asks, and notes how the request is found in the log.
    async fn asked(&self, connection: &mut TcpStream, request: Request, n: usize) -> std::io::Result<Value> {
        let (status, body) = ask(connection, &request).await?;
        let said = String::from_utf8_lossy(&body);
        if status >= 500 && ["failed to audit", "the store is unavailable"].iter().any(|late| said.contains(late)) {
            self.late.fetch_add(1, Ordering::Relaxed);
            return Ok(Value::Null);
        }
        let text = || format!("{status} {} {}: {}", request.method, request.path, String::from_utf8_lossy(&body));
        assert!((200..500).contains(&status), "{}", text());
        self.limited.fetch_add(usize::from(status == 429), Ordering::Relaxed);
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let own = request.path.ends_with(&format!("-{n}")) || request.path.ends_with(&format!("/{n}"));
        let found = match answer["request_id"].as_str().filter(|id| !id.is_empty()) {
            _ if own => Answered::Path(request.path.clone()),
            Some(id) => Answered::Id(id.to_owned()),
            None => panic!("{}", text()),
        };
        self.answered.lock().push(found);
        Ok(answer)
    }
}
