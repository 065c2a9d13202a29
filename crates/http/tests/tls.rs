//! TLS: client certificates are asked for and not verified; the server's own is exchanged while it runs.

use std::{path::Path, sync::Arc};

use holdfast_client::{Call, Client, Config};
use holdfast_http::{Certificate, ClientCertificates, Limits, Tls, Versions};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    let tls = Tls::new(Certificate::load(&chain, &key).unwrap(), &clients, Versions::Both).unwrap();
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

/// A listener with these limits, and a client that trusts it.
pub async fn serving(limits: Limits) -> (Running, Client) {
    let (folder, server) = (TempDir::new().unwrap(), self_signed(false));
    write(folder.path(), &server);
    let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let tls = Tls::new(Certificate::load(&chain, &key).unwrap(), &ClientCertificates::Ask, Versions::Both).unwrap();
    let running = start(Echo::new(), Some(tls), limits).await;
    let client = client(running.port, &server, None);
    (running, client)
}

/// What a client sends first.
pub fn hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let (mut client, mut bytes) = (rustls::ClientConnection::new(Arc::new(config), name).unwrap(), Vec::new());
    client.write_tls(&mut bytes).unwrap();
    bytes
}

pub async fn certificates_seen(client: &Client) -> Result<u64, String> {
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

/// An X.509 certificate of version 1 for this key. Its own signature is nonsense, which nobody looks at.
fn version_1(key: &KeyPair) -> CertificateDer<'static> {
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, 0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), &content].concat()
    }
    let algorithm = der(0x30, &[&[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]); // ecdsa-with-SHA256
    let name = der(0x30, &[&der(0x31, &[&der(0x30, &[&[0x06, 3, 0x55, 4, 3], &der(0x0c, &[b"client"])])])]);
    let (from, until) = (der(0x17, &[b"220101000000Z"]), der(0x17, &[b"230101000000Z"]));
    let validity = der(0x30, &[&from, &until]);
    let spki = key.subject_public_key_info();
    let content = der(0x30, &[&[0x02, 1, 7], &algorithm, &name, &validity, &name, &spki]);
    let whole = der(0x30, &[&content, &algorithm, &der(0x03, &[&[0], &[1; 70]])]);
    CertificateDer::from(whole)
}

#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The status line that a client gets who presents this certificate and signs with this key; empty when refused.
async fn presenting(
    port: u16,
    server: &Pair,
    version: &'static SupportedProtocolVersion,
    leaf: CertificateDer<'static>,
    key: &KeyPair,
) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.chain.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let presents = Arc::new(Presents(Arc::new(CertifiedKey::new(vec![leaf], key))));
    let config = builder.with_root_certificates(roots).with_client_cert_resolver(presents);
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let Ok(mut stream) = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
        return String::new();
    };
    let mut answer = String::new();
    // With TLS 1.3 the refusal comes after the handshake.
    let _ = stream.write_all(b"GET /v1/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let _ = stream.read_to_string(&mut answer).await;
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_version_1_certificate_is_taken_and_possession_is_still_proven() {
    let (folder, server) = (TempDir::new().unwrap(), self_signed(false));
    write(folder.path(), &server);
    let (running, _) = serve(&folder, ClientCertificates::Ask).await;
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    for version in [&TLS12, &TLS13] {
        let good = presenting(running.port, &server, version, version_1(&own), &own).await;
        assert_eq!(good, "HTTP/1.1 200 OK", "{version:?}");
        let stolen = presenting(running.port, &server, version, version_1(&own), &other).await;
        assert_eq!(stolen, "", "{version:?}: the key is another one's");
    }
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
