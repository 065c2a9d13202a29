//! Volumes with certificates: their formats, a key that is another's, their end.

use std::{fs, time::Duration};

use holdfast_base::{Clock, SystemClock};
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use crate::node::Node;

const KV: &str = "kv/data/tls";
const ITEMS: &[(&str, &str)] = &[(
    "items",
    "- {path: kv/data/tls, format: tls, file: web}\n\
     - {path: kv/data/tls, format: pem, file: web.pem}\n\
     - {path: kv/data/tls, format: pkcs12, file: web.p12, passwordKey: password}",
)];

/// A certificate that is good for so long, and its key, in a key-value secret.
fn issued(seconds: i64) -> Value {
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec!["web".to_owned()]).unwrap());
    let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(SystemClock.now().as_second().unsigned_abs());
    let distance = Duration::from_secs(seconds.unsigned_abs());
    params.not_after = if seconds < 0 { now - distance } else { now + distance }.into();
    let certificate = params.self_signed(&key).unwrap();
    json!({"certificate": certificate.pem(), "private_key": key.serialize_pem(), "password": "p12"})
}

fn set(node: &Node, value: &Value) {
    node.server.with(|world| world.kv.insert(KV.to_owned(), value.clone()));
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// Do all files show this certificate?
fn shows(node: &Node, value: &Value) -> bool {
    let (certificate, key) = (text(value, "certificate"), text(value, "private_key"));
    let store = fs::read(node.target("u-1").join("web.p12")).unwrap_or_default();
    let store = KeyStore::from_pkcs12(&store, "p12", Pkcs12ImportPolicy::Strict).unwrap();
    let (_, chain) = store.private_key_chain().unwrap();
    node.read("u-1", "web/tls.crt") == certificate
        && node.read("u-1", "web/tls.key") == key
        && node.read("u-1", "web.pem") == format!("{key}{certificate}")
        && chain.certs()[0].as_der() == CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap().as_ref()
}

fn seconds_left(node: &Node) -> Option<f64> {
    let metrics = node.metrics();
    let line = metrics.lines().find(|line| line.starts_with("holdfast_csi_seconds_to_expiry{"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn all_formats_change_together_and_a_key_of_another_leaves_the_old_files() {
    let node = Node::start().await;
    let (one, two) = (issued(86_400), issued(86_400));
    set(&node, &one);
    node.publish("u-1", ITEMS).await.unwrap();
    assert!(shows(&node, &one));
    let link = || fs::read_link(node.target("u-1").join("..data")).unwrap();
    let before = link();

    set(&node, &json!({"certificate": two["certificate"], "private_key": one["private_key"], "password": "p12"}));
    node.until("a stale status", || node.status("u-1")["state"] == "stale").await;
    let status = node.status("u-1");
    assert!(text(&status, "error").contains("the private key is not the certificate's"), "{status}");
    assert_eq!(link(), before);
    assert!(shows(&node, &one));
    let condition = node.stats("u-1").await.volume_condition.unwrap();
    assert!(condition.abnormal && condition.message.contains("is not the certificate's"), "{condition:?}");

    set(&node, &two);
    node.until("the new pair", || link() != before).await;
    assert!(shows(&node, &two));
    node.until("a fresh status", || node.status("u-1")["state"] == "fresh").await;
    let canary = text(&two, "private_key").lines().nth(1).unwrap();
    assert_eq!(node.leaks(&[canary]), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_without_lease_expires_and_is_told_of() {
    let node = Node::start().await;
    set(&node, &issued(86_400));
    node.publish("u-1", ITEMS).await.unwrap();
    assert_eq!(node.status("u-1")["state"], "fresh");
    let left = seconds_left(&node).unwrap();
    assert!(left > 86_000.0 && left <= 86_401.0, "{left}");
    assert!(node.status("u-1")["items"][KV]["expires"].is_string(), "{}", node.status("u-1"));

    set(&node, &issued(-3600));
    node.until("the end", || node.status("u-1")["state"] == "expired").await;
    assert!(seconds_left(&node).unwrap() < 0.0);
    let condition = node.stats("u-1").await.volume_condition.unwrap();
    assert!(condition.abnormal && condition.message.contains("the certificate has ended"), "{condition:?}");
    node.until("an Event", || {
        node.server.with(|world| world.told.iter().any(|(reason, _)| reason == "SecretsExpired"))
    })
    .await;
}

#[tokio::test]
async fn what_a_write_made_is_made_again_at_two_thirds() {
    let node = Node::start().await;
    node.server.with(|world| {
        world.good_for = Some(3);
        let objects = "- {objectName: a.crt, secretPath: pki/issue/x, secretKey: certificate, method: PUT, \
                       secretArgs: {common_name: a}}";
        let class = [("roleName".to_owned(), "orders".to_owned()), ("objects".to_owned(), objects.to_owned())];
        world.classes.insert("tls".to_owned(), class.into());
    });
    node.publish("u-1", &[("secretProviderClass", "tls")]).await.unwrap();
    let item = node.status("u-1")["items"].as_object().unwrap().values().next().unwrap().clone();
    assert!(item["expires"].is_string() && item["renewBy"].is_string(), "{item}");
    node.until("the third", || node.read("u-1", "a.crt") == "a-3").await;
    assert_eq!(node.status("u-1")["state"], "fresh", "it was never over");
    assert!(node.server.with(|world| world.issued) <= 5, "not as fast as it goes");

    // By a template too.
    let template =
        r#"- {template: '{{ with pkiCert "pki/issue/x" "common_name=b" }}{{ .Cert }}{{ end }}', file: b.crt}"#;
    node.publish("u-2", &[("items", template)]).await.unwrap();
    let first = node.read("u-2", "b.crt");
    assert!(first.starts_with("b-"), "{first}");
    node.until("another", || node.read("u-2", "b.crt") != first).await;
}

#[tokio::test]
async fn what_a_template_does_not_ask_for_any_more_is_not_made_again() {
    let node = Node::start().await;
    node.server.with(|world| world.good_for = Some(3));
    set(&node, &json!({"name": "c"}));
    let template = r#"- {template: '{{ with secret "kv/data/tls" }}{{ $name := .Data.data.name }}{{ with pkiCert "pki/issue/x" (print "common_name=" $name) }}{{ .Cert }}{{ end }}{{ end }}', file: x.crt}"#;
    node.publish("u-1", &[("items", template)]).await.unwrap();
    assert!(node.read("u-1", "x.crt").starts_with("c-"));
    set(&node, &json!({"name": "d"}));
    node.until("another name", || node.read("u-1", "x.crt").starts_with("d-")).await;
    let items = || node.status("u-1")["items"].as_object().unwrap().len();
    node.until("the secret and one certificate", || items() == 2).await;
}
