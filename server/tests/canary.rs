//! No secret reaches a log, a counter or the audit file in clear (CVE-2024-8365, CVE-2025-62513, CVE-2025-4166): a mixed run
//! at the level `trace`, with a secret of its own in each place that may hold one, and a look at all that came out.

use std::path::Path;

use holdfast_client::{Call, Client};
use holdfast_secret::SecretString;
use http::Method;
use serde_json::{Value, json};

use crate::fixture::{Server, data, folder, free_port, get, put, unseal};

fn configuration(folder: &Path) -> String {
    let (store, audit) = (folder.join("data").display().to_string(), folder.join("audit.log").display().to_string());
    format!(
        "log_level = \"trace\"\nlog_format = \"json\"\nstorage \"file\" {{ path = {store:?} }}\n\
         audit \"file\" \"main\" {{\n options {{ file_path = {audit:?} }}\n}}\n"
    )
}

/// What must be found nowhere, each with a word for what it is.
struct Secrets(Vec<(String, String)>);

impl Secrets {
    fn keep(&mut self, what: &str, secret: impl Into<String>) -> String {
        let secret = secret.into();
        assert!(secret.len() >= 8, "{what}: {secret:?} may be found by chance");
        self.0.push((what.to_owned(), secret.clone()));
        secret
    }

    /// A new one.
    fn canary(&mut self, what: &str) -> String {
        let number = self.0.len();
        self.keep(what, format!("canary-{number:03}-{:08x}", number.wrapping_mul(0x9e37_79b9)))
    }

    fn assert_absent(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            if let Some(at) = text.find(secret) {
                let begin = text[..at].rfind('\n').map_or(0, |at| at + 1);
                let line = text[begin..].lines().next().unwrap_or_default();
                panic!("{what} is in {place}: {}", &line[..line.len().min(600)]);
            }
        }
    }
}

/// A call whatever it is answered; the body of the answer.
async fn ask(client: &Client, call: Call) -> Value {
    let answer = client.call(call).await.unwrap();
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

fn post(path: &str, body: Value) -> Call {
    Call { method: Method::POST, ..put(path, body) }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} of {value}")).to_owned()
}

#[tokio::test]
async fn cve_2024_8365_cve_2025_4166_no_secret_is_in_logs_counters_and_audit() {
    let folder = folder();
    let server = Server::start_at(folder.path(), free_port(), &configuration(folder.path())).await;
    let (root, made) = server.initialize(3, 2).await;
    let anyone = server.client();
    let mut secrets = Secrets(Vec::new());
    secrets.keep("the root token", made.root_token.as_str());
    for key in made.keys.iter().chain(&made.keys_base64) {
        secrets.keep("a key share", key.as_str());
    }

    logins(&root, &anyone, &mut secrets).await;
    values(&root, &mut secrets).await;
    mistakes(&root, &anyone, &server, &mut secrets).await;
    tokens(&root, &anyone, &mut secrets).await;

    // Sealed and unsealed with shares on the way, one of them wrong.
    ask(&root, put("sys/seal", json!({}))).await;
    let wrong = secrets.canary("a wrong key share");
    ask(&anyone, put("sys/unseal", json!({ "key": wrong }))).await;
    unseal(&anyone, &made.keys_base64[1..]).await;

    for query in ["format=prometheus", ""] {
        let call = Call { query: query.to_owned(), ..get("sys/metrics") };
        let metrics = root.call(call).await.unwrap();
        assert!(metrics.status == 200 && metrics.body.len() > 500, "{query}: {}", metrics.status);
        secrets.assert_absent("the metrics", &String::from_utf8_lossy(&metrics.body));
    }
    for path in ["sys/in-flight-req", "sys/host-info", "sys/config/state/sanitized", "sys/internal/counters/tokens"] {
        secrets.assert_absent(path, &ask(&root, get(path)).await.to_string());
    }
    let (output, errors) = (server.output(), server.errors());
    for sign in ["\"level\":\"TRACE\"", "h2::", "holdfast_core", "holdfast_http"] {
        assert!(
            errors.contains(sign),
            "there is no {sign} in {} lines: is this the level trace?",
            errors.lines().count()
        );
    }
    secrets.assert_absent("stdout", &output);
    secrets.assert_absent("the log", &errors);
    let audit = std::fs::read_to_string(folder.path().join("audit.log")).unwrap();
    assert!(audit.lines().count() > 60);
    secrets.assert_absent("the audit log", &audit);
}

async fn logins(root: &Client, anyone: &Client, secrets: &mut Secrets) {
    for kind in ["userpass", "approle", "jwt", "kubernetes"] {
        root.write(&format!("sys/auth/{kind}"), json!({ "type": kind })).await.unwrap();
    }
    let password = secrets.canary("a password");
    root.write("auth/userpass/users/ada", json!({ "password": password })).await.unwrap();
    let login = ask(anyone, put("auth/userpass/login/ada", json!({ "password": password }))).await;
    secrets.keep("a token of a login", text(&login, "/auth/client_token"));
    let wrong = secrets.canary("a wrong password");
    ask(anyone, put("auth/userpass/login/ada", json!({ "password": wrong }))).await;
    ask(anyone, put("auth/userpass/login/nobody", json!({ "password": wrong, "other": wrong }))).await;

    root.write("auth/approle/role/app", json!({"token_policies": "default"})).await.unwrap();
    let role = data(root, "auth/approle/role/app/role-id").await;
    let made = ask(root, put("auth/approle/role/app/secret-id", json!({}))).await;
    let secret_id = secrets.keep("a secret id", text(&made, "/data/secret_id"));
    let body = json!({ "role_id": role["role_id"], "secret_id": secret_id });
    let login = ask(anyone, put("auth/approle/login", body)).await;
    secrets.keep("a token of a login", text(&login, "/auth/client_token"));
    let own = secrets.canary("a secret id of one's own");
    root.write("auth/approle/role/app/custom-secret-id", json!({ "secret_id": own })).await.unwrap();
    let wrong = secrets.canary("a wrong secret id");
    ask(anyone, put("auth/approle/login", json!({ "role_id": role["role_id"], "secret_id": wrong }))).await;

    let reviewer = secrets.canary("a token reviewer's token");
    let config = json!({"kubernetes_host": "https://127.0.0.1:1", "token_reviewer_jwt": reviewer});
    ask(root, put("auth/kubernetes/config", config)).await;
    for (path, role) in [("auth/jwt/login", "r"), ("auth/kubernetes/login", "r")] {
        for jwt in [secrets.canary("a JWT that is none"), format!("eyJhbGciOiJSUzI1NiJ9.{}.x", secrets.canary("a JWT"))]
        {
            ask(anyone, put(path, json!({ "role": role, "jwt": jwt }))).await;
        }
    }
}

async fn values(root: &Client, secrets: &mut Secrets) {
    root.write("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
    root.write("sys/mounts/one", json!({"type": "kv"})).await.unwrap();
    root.write("sys/mounts/database", json!({"type": "database"})).await.unwrap();
    let (string, nested, bytes) =
        (secrets.canary("a value"), secrets.canary("a nested value"), secrets.canary("a list's value"));
    let body = json!({ "a": string, "b": { "c": nested, "d": [bytes, 1, null] } });
    root.write("secret/data/app", json!({ "data": body })).await.unwrap();
    root.write("one/app", body.clone()).await.unwrap();
    root.write("cubbyhole/app", body).await.unwrap();
    for path in ["secret/data/app", "one/app", "cubbyhole/app", "secret/subkeys/app"] {
        data(root, path).await;
    }
    let patched = secrets.canary("a patched value");
    let mut patch = put("secret/data/app", json!({"data": { "a": patched }}));
    patch.method = Method::PATCH;
    ask(root, patch).await;
    let (url, password) = (secrets.canary("a password in a URL"), secrets.canary("a password of a database"));
    for connection_url in [
        format!("postgresql://u:{url}@127.0.0.1:1/x"),
        "postgresql://{{username}}:{{password}}@127.0.0.1:1/x".to_owned(),
        format!("no url but {url}"),
    ] {
        for verify in [true, false] {
            let body = json!({
                "plugin_name": "postgresql-database-plugin", "connection_url": connection_url, "allowed_roles": "*",
                "username": "u", "password": password, "verify_connection": verify,
            });
            ask(root, put("database/config/pg", body)).await;
        }
        ask(root, get("database/config/pg")).await;
        ask(root, put("database/roles/r", json!({"db_name": "pg", "creation_statements": "x"}))).await;
        ask(root, get("database/creds/r")).await;
    }
}

async fn mistakes(root: &Client, anyone: &Client, server: &Server, secrets: &mut Secrets) {
    // Wrong types and unknown fields.
    let (a, b) = (secrets.canary("a value of a wrong type"), secrets.canary("an unknown field's value"));
    for path in
        ["secret/data/app", "sys/mounts/x", "auth/token/create", "sys/policies/acl/x", "identity/entity", "sys/remount"]
    {
        ask(
            root,
            put(path, json!({ "data": a, "ttl": a, "type": { "x": a }, "policy": a, "unknown": b, "options": a })),
        )
        .await;
        ask(anyone, put(path, json!({ "unknown": b }))).await;
    }
    // Bodies that are no JSON, with and without a token.
    let broken = secrets.canary("a broken body");
    for token in [secrets.canary("a token that is none"), format!("hvs.{}", secrets.canary("an invented token"))] {
        for body in [format!("{{\"data\": {broken}"), broken.clone(), format!("{{\"a\": \"{broken}\", \"a\": }}")] {
            let headers = format!("X-Vault-Token: {token}\r\nContent-Type: application/json\r\n");
            sent(server, "PUT", "secret/data/app", &headers, &body).await;
        }
        let bearer = format!("Authorization: Bearer {token}\r\nCookie: a={token}\r\nX-Vault-MFA: totp:{token}\r\n");
        sent(server, "GET", "secret/data/app", &bearer, "").await;
        let client = anyone.with_token(SecretString::new(token.as_str()));
        ask(&client, get("auth/token/lookup-self")).await;
    }
    let (token, other) = (secrets.canary("a token over HTTP/2"), secrets.canary("a header over HTTP/2"));
    sent_by_http2(server, &[("x-vault-token", &token), ("x-other", &other), ("authorization", &other)]).await;
    let header = secrets.canary("the value of a header that nobody knows");
    let headers = format!("X-Secret: {header}\r\nX-Vault-Wrap-TTL: {header}\r\nX-Vault-Namespace: a\r\n");
    sent(server, "GET", "secret/data/app", &headers, "").await;
    let query = secrets.canary("a query's value");
    sent(server, "GET", &format!("secret/data/app?version={query}&list={query}"), "", "").await;
}

/// A request over HTTP/2, whose library has a lot to say at this level; each header literally.
async fn sent_by_http2(server: &Server, headers: &[(&str, &str)]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0, length[0], length[1], kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // :method GET, :scheme http, :path and :authority.
    let mut block = [&[0x82, 0x86, 0x04][..], &text("/v1/secret/data/app"), &[0x01], &text("localhost")].concat();
    for (name, value) in headers {
        block.extend([&[0x00][..], &text(name), &text(value)].concat());
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let bytes = [&preface[..], &frame(4, 0, 0, &[]), &frame(1, 0x5, 1, &block)].concat();
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(8).any(|window| window == b"\"errors\"") {
        let read = tokio::time::timeout(crate::fixture::SOON, stream.read_buf(&mut answer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
    }
}

/// A request as it stands.
async fn sent(server: &Server, method: &str, path: &str, headers: &str, body: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} /v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

async fn tokens(root: &Client, anyone: &Client, secrets: &mut Secrets) {
    let made = ask(root, post("auth/token/create", json!({"ttl": "1h"}))).await;
    let token = secrets.keep("a child token", text(&made, "/auth/client_token"));
    for path in ["auth/token/lookup", "auth/token/renew"] {
        ask(root, put(path, json!({ "token": token }))).await;
    }
    let batch =
        ask(root, post("auth/token/create", json!({"ttl": "1h", "type": "batch", "policies": ["default"]}))).await;
    secrets.keep("a batch token", text(&batch, "/auth/client_token"));
    let wrapped = secrets.canary("a wrapped value");
    let mut wrap = put("sys/wrapping/wrap", json!({ "a": wrapped }));
    wrap.headers.push(("x-vault-wrap-ttl", "5m".to_owned()));
    let made = ask(root, wrap).await;
    let wrapping = secrets.keep("a wrapping token", text(&made, "/wrap_info/token"));
    ask(anyone, put("sys/wrapping/lookup", json!({ "token": wrapping }))).await;
    ask(anyone, put("sys/wrapping/unwrap", json!({ "token": wrapping }))).await;
    ask(anyone, put("sys/wrapping/unwrap", json!({ "token": wrapping }))).await;
    ask(&anyone.with_token(SecretString::new(wrapping.as_str())), put("sys/wrapping/unwrap", json!({}))).await;
    let input = secrets.canary("what is hashed");
    ask(root, put("sys/tools/hash", json!({ "input": input }))).await;
    let random = ask(root, put("sys/tools/random/32", json!({}))).await;
    secrets.keep("random bytes", text(&random, "/data/random_bytes"));
    ask(root, put("auth/token/revoke", json!({ "token": token }))).await;
    ask(root, put("auth/token/revoke", json!({ "token": secrets.canary("a token to revoke that is none") }))).await;
}
