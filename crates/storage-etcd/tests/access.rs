//! TLS, and what is said when etcd cannot be reached.

use std::io::{Read, Write};
use std::net::TcpStream;

use holdfast_secret::SecretString;
use holdfast_storage::{Error, Op, Storage, Txn};
use holdfast_storage_etcd::{Config, ConnectError, Credentials, EtcdStorage};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::etcd::{Etcd, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_works_and_each_mistake_is_named() {
    let (ca, other_ca) = (authority("ours"), authority("other"));
    let (server_cert, server_key) = leaf(&ca);
    let (client_cert, client_key) = leaf(&ca);
    let (alien_cert, alien_key) = leaf(&other_ca);
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let etcd = Etcd::spawn(
        "https",
        &[
            format!("--cert-file={}", write("server.pem", &server_cert)),
            format!("--key-file={}", write("server.key", &server_key)),
            format!("--trusted-ca-file={}", write("ca.pem", &ca.pem())),
            "--client-cert-auth".to_owned(),
        ],
    );
    let config = |ca: &str, cert: Option<&str>, key: Option<&str>| Config {
        endpoints: vec![etcd.endpoint.clone()],
        ca_pem: Some(ca.to_owned()),
        cert_pem: cert.map(str::to_owned),
        key_pem: key.map(SecretString::from),
        ..Config::default()
    };
    let good = || config(&ca.pem(), Some(&client_cert), Some(&client_key));
    etcd.wait_until_ready(good).await;

    let storage = EtcdStorage::connect(good()).await.unwrap();
    storage.txn(Txn { then: vec![Op::put("k", "v")], ..Txn::default() }).await.unwrap();
    assert_eq!(storage.get(b"k").await.unwrap().0.unwrap().value, "v");

    let wrong_ca = refusal(config(&other_ca.pem(), Some(&client_cert), Some(&client_key))).await;
    assert!(wrong_ca.contains(&etcd.endpoint) && wrong_ca.contains("UnknownIssuer"), "{wrong_ca}");
    let no_cert = refusal(config(&ca.pem(), None, None)).await;
    assert!(no_cert.contains(&etcd.endpoint) && no_cert.contains("may want a client certificate"), "{no_cert}");
    let wrong_cert = refusal(config(&ca.pem(), Some(&alien_cert), Some(&alien_key))).await;
    assert!(
        wrong_cert.contains(&etcd.endpoint) && wrong_cert.contains("may refuse our client certificate"),
        "{wrong_cert}"
    );
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_named() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let text = refusal(Config { endpoints: vec![endpoint.clone()], ..Config::default() }).await;
    assert!(text.contains(&endpoint) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn https_without_an_authority_is_refused() {
    let config = Config { endpoints: vec!["https://127.0.0.1:1".to_owned()], ..Config::default() };
    assert!(matches!(EtcdStorage::connect(config).await, Err(ConnectError::Config(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_is_passed_over() {
    let etcd = Etcd::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let config = Config { endpoints: vec![dead, etcd.endpoint.clone()], ..Config::default() };
    let storage = EtcdStorage::connect(config).await.unwrap();
    for _ in 0..3 {
        storage.txn(Txn { then: vec![Op::put("k", "v")], ..Txn::default() }).await.unwrap();
        storage.get(b"k").await.unwrap();
    }
}

async fn refusal(config: Config) -> String {
    EtcdStorage::connect(config).await.err().unwrap().to_string()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for both ends (etcd's gateway is a client of its own), and its key.
fn leaf(ca: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let cert = params.signed_by(&key, ca).unwrap();
    (cert.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_passwords_work_and_a_wrong_one_is_named() {
    let etcd = Etcd::start().await;
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"right"}"#),
        ("role/add", r#"{"name":"root"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("auth/enable", "{}"),
    ] {
        let path = if path.starts_with("auth") { "/v3/auth/enable".to_owned() } else { format!("/v3/auth/{path}") };
        gateway(&etcd.endpoint, &path, body);
    }
    let config = |password: &str| Config {
        endpoints: vec![etcd.endpoint.clone()],
        credentials: Some(Credentials { username: "root".to_owned(), password: password.into() }),
        ..Config::default()
    };
    let storage = EtcdStorage::connect(config("right")).await.unwrap();
    storage.txn(Txn { then: vec![Op::put("k", "v")], ..Txn::default() }).await.unwrap();
    assert_eq!(storage.get(b"k").await.unwrap().0.unwrap().value, "v");

    let wrong = refusal(config("wrong")).await;
    assert!(wrong.contains("\"root\"") && wrong.contains("authentication failed"), "{wrong}");
    assert!(!wrong.contains("wrong"), "the password is in the error: {wrong}");
    let nobody = EtcdStorage::connect(Config { endpoints: vec![etcd.endpoint.clone()], ..Config::default() }).await;
    if let Ok(nobody) = nobody {
        let refused = nobody.get(b"k").await;
        assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
    }
}

/// A call of etcd's JSON gateway, for what the client has no use for.
fn gateway(endpoint: &str, path: &str, body: &str) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
}
