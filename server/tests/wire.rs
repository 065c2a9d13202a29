//! The listener's own answers around the core's: other origins, headers of the configuration, rate limits, and storage that
//! other servers' configurations name.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::json;

use crate::fixture::{Server, folder, free_port, initialize, put};

/// One request over a plain connection; the whole answer as text, header names in lower case.
fn ask(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let text = format!("{head}\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn other_origins_own_headers_and_the_order_of_refusals() {
    let (folder, port) = (folder(), free_port());
    let file = folder.path().join("config.hcl");
    let configuration = format!(
        "storage \"inmem\" {{}}\nlistener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n \
         custom_response_headers {{\n \"default\" = {{ \"X-Own\" = [\"all\"] }}\n \"4xx\" = {{ \"X-Own\" = [\"refused\"] }}\n }}\n}}\n"
    );
    std::fs::write(&file, configuration).unwrap();
    let mut server = Server::spawn(folder.path(), port, &[&format!("-config={}", file.display())]);
    server.wait_until_answering(&server.client()).await;
    let (root, made) = initialize(&server.client(), 1, 1).await;

    let page = "origin: https://ui.example";
    assert!(
        ask(port, &format!("GET /v1/sys/health HTTP/1.1\r\n{page}"), "").starts_with("HTTP/1.1 200"),
        "cors is off"
    );
    root.call(put("sys/config/cors", json!({"allowed_origins": ["https://ui.example"]}))).await.unwrap();
    let served = ask(port, &format!("GET /v1/sys/health HTTP/1.1\r\n{page}"), "");
    assert!(served.contains("access-control-allow-origin: https://ui.example"), "{served}");
    assert!(served.contains("x-own: all"), "{served}");
    let refused = ask(port, "GET /v1/sys/health HTTP/1.1\r\norigin: https://evil.example", "");
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("origin not allowed"), "{refused}");
    assert!(refused.contains("x-own: refused"), "{refused}");
    let preflight = |method: &str| {
        ask(port, &format!("OPTIONS /v1/secret/a HTTP/1.1\r\n{page}\r\naccess-control-request-method: {method}"), "")
    };
    assert!(preflight("PUT").starts_with("HTTP/1.1 204") && preflight("PUT").contains("access-control-max-age: 300"));
    assert!(preflight("TRACE").starts_with("HTTP/1.1 405"));

    // CVE-2025-12044: the rate limit is asked before the body is looked at.
    let token = made.root_token.as_str();
    let broken = || ask(port, &format!("PUT /v1/sys/policies/acl/a HTTP/1.1\r\nx-vault-token: {token}"), "{broken");
    assert!(broken().starts_with("HTTP/1.1 400"));
    root.call(put("sys/quotas/config", json!({"enable_rate_limit_response_headers": true}))).await.unwrap();
    root.call(put("sys/quotas/rate-limit/all", json!({"rate": 1, "interval": "10m"}))).await.unwrap();
    let answers = [broken(), broken()];
    assert!(answers[1].starts_with("HTTP/1.1 429") && answers[1].contains("retry-after: "), "{answers:?}");
    assert!(ask(port, "GET /v1/sys/health HTTP/1.1", "").starts_with("HTTP/1.1 200"), "health is free");
}

#[tokio::test]
async fn a_configuration_with_consul_storage_starts_with_a_warning() {
    let folder = folder();
    let consul =
        "backend \"consul\" {\n address = \"127.0.0.1:8500\"\n path = \"vault/\"\n}\nha_storage \"consul\" {}\n";
    let server = Server::start(folder.path(), consul).await;
    let (client, _) = server.initialize(1, 1).await;
    client.call(put("sys/mounts/kv", json!({"type": "kv"}))).await.unwrap();
    let errors = server.errors();
    assert!(errors.contains("storage \"consul\" becomes a file of one server"), "{errors}");
    assert!(errors.contains("ha_storage \"consul\" is not needed"), "{errors}");
    // A second server of the same storage on this machine: one file serves one process.
    let file = folder.path().join("config.hcl");
    let mut second = Server::spawn(folder.path(), 0, &[&format!("-config={}", file.display())]);
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.errors().contains("is in use by another process"), "{}", second.errors());
    assert!(server.stop().success());
    let server = Server::start(folder.path(), consul).await;
    assert!(server.client().seal_status().await.unwrap().initialized, "it finds its data again");
}

/// RUSTSEC-2025-0055: what a stranger sends moves no cursor and ends no line of the log, also where it is for people.
#[tokio::test]
async fn rustsec_2025_0055_no_control_character_of_a_request_is_in_the_log() {
    let (folder, port) = (folder(), free_port());
    let address = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server =
        Server::spawn(folder.path(), port, &["-dev", &address, "-dev-root-token-id=root", "-log-level=trace"]);
    server.wait_until_answering(&server.client()).await;
    let sign = "\u{1b}[31mforged\u{7}\u{9b}2J";
    let escaped = "%1B%5B31mforged%07%C2%9B2J%0A2026-01-01T00:00:00Z%20forged";
    let token = "x-vault-token: root";
    let body = json!({"type": "kv", "description": sign, "options": {sign: sign}}).to_string();
    for head in [
        format!("GET /v1/secret/data/{escaped} HTTP/1.1\r\n{token}"),
        format!("GET /v1/secret/data/a?x={escaped} HTTP/1.1\r\n{token}\r\nuser-agent: a\tb"),
        format!("PUT /v1/sys/mounts/forged HTTP/1.1\r\n{token}"),
        format!("PUT /v1/sys/mounts/{escaped} HTTP/1.1\r\n{token}"),
        format!("PUT /v1/auth/nowhere/login/{escaped} HTTP/1.1"),
    ] {
        ask(port, &head, &body);
    }
    let log = server.errors() + &server.output();
    assert!(log.contains("DEBUG") && log.matches("answered").count() >= 5, "{log}");
    let control = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    let found = log.lines().find(|line| line.chars().any(|c| control(&c)));
    assert_eq!(found, None);
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z forged")), "a line was forged");
}
