//! TLS: client certificates are asked for and not verified; the server's own is exchanged while it runs.

use std::path::Path;

use holdfast_client::{Call, Client, Config};
use holdfast_http::{Certificate, ClientCertificates, Limits, MinVersion, Tls};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Echo, Running, start};

struct Pair {
    chain: String,
    key: String,
}

fn self_signed(expired: bool) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    if expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    Pair { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn write(folder: &Path, pair: &Pair) {
    std::fs::write(folder.join("tls.crt"), &pair.chain).unwrap();
    std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
}

async fn serve(folder: &TempDir, clients: ClientCertificates) -> (Running, Tls) {
    let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let tls = Tls::new(Certificate::load(&chain, &key).unwrap(), &clients, MinVersion::Tls12).unwrap();
    (start(Echo::new(), Some(tls.clone()), Limits::default()).await, tls)
}

fn client(port: u16, server: &Pair, own: Option<&Pair>) -> Client {
    Client::new(Config {
        address: format!("https://127.0.0.1:{port}"),
        ca_pem: Some(server.chain.clone().into_bytes()),
        identity_pem: own.map(|pair| (pair.chain.clone().into_bytes(), pair.key.clone().into_bytes())),
        ..Config::default()
    })
    .unwrap()
}

async fn certificates_seen(client: &Client) -> Result<u64, String> {
    let call = Call { path: "a".to_owned(), ..Call::default() };
    let body: Value = client.bare(call).await.map_err(|error| error.to_string())?;
    Ok(body["certificates"].as_u64().unwrap())
}

#[tokio::test]
async fn a_client_certificate_is_taken_unverified_or_not_at_all() {
    let (folder, server) = (TempDir::new().unwrap(), self_signed(false));
    write(folder.path(), &server);
    let (running, _) = serve(&folder, ClientCertificates::Ask).await;
    assert_eq!(certificates_seen(&client(running.port, &server, None)).await, Ok(0));
    assert_eq!(certificates_seen(&client(running.port, &server, Some(&self_signed(false)))).await, Ok(1));
    assert_eq!(certificates_seen(&client(running.port, &server, Some(&self_signed(true)))).await, Ok(1));
}

#[tokio::test]
async fn a_client_certificate_can_be_required() {
    let (folder, server) = (TempDir::new().unwrap(), self_signed(false));
    write(folder.path(), &server);
    let bundle = folder.path().join("clients.pem");
    let (own, stranger) = (self_signed(false), self_signed(false));
    std::fs::write(&bundle, &own.chain).unwrap();
    let (running, _) = serve(&folder, ClientCertificates::Require(bundle)).await;
    assert!(certificates_seen(&client(running.port, &server, None)).await.is_err());
    assert!(certificates_seen(&client(running.port, &server, Some(&stranger))).await.is_err());
}

#[tokio::test]
async fn the_certificate_is_exchanged_while_running_and_a_bad_pair_is_not_taken() {
    let (folder, first, second) = (TempDir::new().unwrap(), self_signed(false), self_signed(false));
    write(folder.path(), &first);
    let (running, tls) = serve(&folder, ClientCertificates::Ask).await;
    assert!(certificates_seen(&client(running.port, &first, None)).await.is_ok());

    std::fs::write(folder.path().join("tls.crt"), &second.chain).unwrap();
    let error = tls.certificate().reload().unwrap_err().to_string();
    assert!(error.contains("tls.key") && error.contains("tls.crt"), "{error}");
    assert!(certificates_seen(&client(running.port, &first, None)).await.is_ok());

    write(folder.path(), &second);
    assert!(tls.certificate().reload().unwrap());
    assert!(!tls.certificate().reload().unwrap());
    assert!(certificates_seen(&client(running.port, &second, None)).await.is_ok());
    assert!(certificates_seen(&client(running.port, &first, None)).await.is_err());
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let folder = TempDir::new().unwrap();
    let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let missing = Certificate::load(&chain, &key).unwrap_err().to_string();
    assert!(missing.contains("tls.crt"), "{missing}");
    std::fs::write(&chain, "no pem").unwrap();
    let empty = Certificate::load(&chain, &key).unwrap_err().to_string();
    assert!(empty.contains("no certificate in it"), "{empty}");
}
