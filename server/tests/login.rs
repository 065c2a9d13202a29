//! Logins with certificates and JSON Web Tokens, as the command line and other clients make them.

use std::{
    path::Path,
    process::{Command, Output},
};

use holdfast_api_types::Envelope;
use holdfast_base::{Clock, SystemClock};
use holdfast_client::{Client, Config};
use holdfast_secret::SecretString;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::fixture::{
    Server,
    certificates::{Authority, Pair},
    folder, free_port, initialize, unseal,
};

fn client(port: u16, authority: &Authority, own: &Pair) -> Client {
    Client::new(Config {
        address: format!("https://127.0.0.1:{port}"),
        ca_pem: Some(authority.pem().into_bytes()),
        identity_pem: Some((own.chain.clone().into_bytes(), own.key.clone().into_bytes())),
        ..Config::default()
    })
    .unwrap()
}

fn holdfast(home: &Path, address: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(words)
        .env_clear()
        .env("HOME", home)
        .env("VAULT_ADDR", address)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn login(client: &Client) -> Result<Envelope, String> {
    let answer = client.write("auth/cert/login", json!({})).await;
    answer.map(Option::unwrap).map_err(|error| error.to_string())
}

async fn renew(client: &Client, token: &str) -> Result<(), String> {
    let client = client.with_token(SecretString::new(token));
    client.write("auth/token/renew-self", json!({})).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_certificate_logs_in_renews_and_is_revoked_for_good() {
    let (folder, port, authority) = (folder(), free_port(), Authority::new());
    let (chain, key) = authority.issue().write(folder.path(), "tls");
    let file = folder.path().join("config.json");
    let configuration = json!({
        "backend": {"file": {"path": folder.path().join("data")}}, "disable_mlock": true,
        "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "tls_cert_file": chain, "tls_key_file": key}},
    });
    std::fs::write(&file, configuration.to_string()).unwrap();
    let start = || {
        let mut server = Server::spawn(folder.path(), port, &["-config", &file.display().to_string()]);
        server.scheme = "https";
        server
    };
    let clients = Authority::new();
    let (own, sibling) = (clients.issue(), clients.issue());
    let (own_chain, own_key) = own.write(folder.path(), "own");
    let (own_client, sibling_client) = (client(port, &authority, &own), client(port, &authority, &sibling));

    let mut server = start();
    server.wait_until_answering(&own_client).await;
    let (root, made) = initialize(&own_client, 1, 1).await;
    root.write("sys/auth/cert", json!({"type": "cert"})).await.unwrap();
    root.write("auth/cert/certs/web", json!({"certificate": clients.pem(), "token_policies": "web"})).await.unwrap();

    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let mut command = words(&["login", "-method=cert", "-token-only", "-ca-cert"]);
    command.extend(
        [&ca, Path::new("-client-cert"), &own_chain, Path::new("-client-key"), &own_key]
            .map(|path: &Path| path.display().to_string()),
    );
    command.push("name=web".to_owned());
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = holdfast(folder.path(), &server.address(), &command);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let auth = login(&own_client).await.unwrap().auth.unwrap();
    assert_eq!(auth.metadata.as_ref().unwrap()["cert_name"], "web");
    assert_eq!(auth.token_policies, ["default", "web"]);
    let sibling_token = login(&sibling_client).await.unwrap().auth.unwrap().client_token;
    renew(&own_client, &auth.client_token).await.unwrap();
    renew(&sibling_client, &sibling_token).await.unwrap();
    // CVE-2026-39388: the token of one certificate is not renewed with another of the same CA.
    let refused = renew(&sibling_client, &auth.client_token).await.unwrap_err();
    assert!(refused.contains("client identity during renewal"), "{refused}");

    root.write("auth/cert/crls/clients", json!({"crl": clients.crl(&own)})).await.unwrap();
    assert!(login(&own_client).await.unwrap_err().contains("invalid certificate"));
    server.kill();
    let mut server = start();
    server.wait_until_answering(&own_client).await;
    unseal(&own_client, &made.keys_base64).await;
    // CVE-2022-41316: the first request after unseal.
    assert!(login(&own_client).await.unwrap_err().contains("invalid certificate"));
    login(&sibling_client).await.unwrap();
    assert!(server.stop().success());
}

#[tokio::test]
async fn a_json_web_token_logs_in() {
    let (folder, port) = (folder(), free_port());
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
    server.wait_until_answering(&server.client()).await;
    let root = server.client().with_token(SecretString::new("root"));
    while root.read("auth/token/lookup-self").await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let key = KeyPair::generate().unwrap();
    let signer = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
    let now = SystemClock.now().as_second();
    let token = |audience: &str| {
        let claims = json!({"sub": "ci", "aud": audience, "iat": now, "exp": now + 600, "groups": ["deployers"]});
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &signer).unwrap()
    };
    for kind in ["jwt", "oidc"] {
        root.write(&format!("sys/auth/{kind}"), json!({ "type": kind })).await.unwrap();
        let config = json!({"jwt_validation_pubkeys": [key.public_key_pem()], "default_role": "ci"});
        root.write(&format!("auth/{kind}/config"), config).await.unwrap();
        let role = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": "holdfast", "groups_claim": "groups",
            "token_policies": "ci",
        });
        root.write(&format!("auth/{kind}/role/ci"), role).await.unwrap();
    }
    for (audience, success) in [("holdfast", true), ("other", false)] {
        let file = folder.path().join("token");
        std::fs::write(&file, token(audience) + "\n").unwrap();
        let jwt = format!("jwt=@{}", file.display());
        let words = ["login", "-method=jwt", "-format=json", "-no-store", "role=ci", &jwt];
        let output = holdfast(folder.path(), &server.address(), &words);
        assert_eq!(output.status.success(), success, "{}", text(&output.stderr));
        if success {
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["auth"]["metadata"]["role"], "ci");
        } else {
            assert!(text(&output.stderr).contains("invalid audience (aud) claim"), "{}", text(&output.stderr));
        }
    }
    let body = json!({"jwt": token("holdfast")});
    server.client().write("auth/oidc/login", body).await.unwrap();
    let output = holdfast(folder.path(), &server.address(), &["login", "-method=oidc", "role=ci"]);
    assert!(!output.status.success() && text(&output.stderr).contains("browser"), "{}", text(&output.stderr));
}
