//! How long reviews take while 50 pods a second are made, and how much memory the process has then: the real binary,
//! spoken to over TLS and HTTP/2 as an API server does, beside a real API server for what it asks.
//!
//! `HOLDFAST_BENCH_SECONDS=30 cargo test -p holdfast-webhook --test main bench -- --nocapture` prints the figures. In
//! `make test` it runs for two seconds and asserts that every review is answered, what it may cost the processor, which a
//! loaded machine does not change, and the memory.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::Engine as _;
use bytes::Bytes;
use holdfast_envtest::{Cluster, eventually, free_port};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use crate::{cluster::prepare, replica::SECRET};

const RATE: u32 = 50;

/// A review as it comes for a pod of a Deployment, with some of what such pods carry.
fn review(number: usize, namespace: &str) -> Bytes {
    let environment: Vec<Value> =
        (0..40).map(|i| json!({ "name": format!("VARIABLE_{i}"), "value": "some value of some length" })).collect();
    let object = json!({
        "metadata": {
            "generateName": "orders-7d9f-", "labels": { "app": "orders", "pod-template-hash": "7d9f" },
            "annotations": {
                "holdfast.dev/inject": "true", "holdfast.dev/role": "orders",
                "holdfast.dev/secret.db": "credential/orders-ro",
                "holdfast.dev/template.db": "postgresql://{{ .username }}:{{ .password }}@pg/orders",
                "holdfast.dev/secret.api": "kv/data/api", "holdfast.dev/format.api": "json",
                "holdfast.dev/template.both":
                    "{{ with secret \"kv/data/a\" }}{{ .Data.data.k }}{{ end }}{{ with secret \"kv/data/b\" }}{{ .Data.data.k }}{{ end }}",
            },
        },
        "spec": {
            "serviceAccountName": "orders", "volumes": [{ "name": "cache", "emptyDir": {} }],
            "containers": [
                { "name": "app", "image": "orders:1", "env": environment, "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }] },
                { "name": "logs", "image": "logs:1" },
            ],
        },
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": format!("u-{number}"), "operation": "CREATE", "namespace": namespace,
            "resource": { "group": "", "version": "v1", "resource": "pods" }, "object": object,
        },
    });
    review.to_string().into()
}

fn memory(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time of a process so far.
fn processor(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime, in hundredths of a second.
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_pods_a_second() {
    let seconds = std::env::var("HOLDFAST_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let cluster = Cluster::start().await;
    prepare(&cluster.client).await;
    let (port, admin) = (free_port(), free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-webhook"));
    command
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .args(["--namespace", "holdfast", "--agent-image", "agent:1", "--server", "https://holdfast:8200"])
        .args(["--ca-secret", SECRET, "--service", "webhook"]);
    let process = cluster.spawn(command, "webhook");

    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "holdfast");
    eventually("the authority is made", async || secrets.get_opt(SECRET).await.unwrap().is_some()).await;
    let ca = secrets.get(SECRET).await.unwrap().data.unwrap()["ca.crt"].0.clone();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(tls));
    let mut stream = None;
    eventually("the webhook serves", async || {
        let Ok(plain) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return false };
        plain.set_nodelay(true).unwrap();
        let name = ServerName::try_from("webhook.holdfast.svc").unwrap();
        stream = connector.connect(name, plain).await.ok();
        stream.is_some()
    })
    .await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream.unwrap())).await.unwrap();
    tokio::spawn(connection);

    let send = |number: usize| {
        let mut sender = sender.clone();
        async move {
            let request = http::Request::post(format!("https://127.0.0.1:{port}/mutate"));
            let request = request.body(Full::new(review(number, "shop"))).unwrap();
            let began = Instant::now();
            let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            let took = began.elapsed();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["response"]["uid"], format!("u-{number}"));
            let patch = answer["response"]["patch"].as_str().unwrap_or_else(|| panic!("{answer}"));
            assert!(base64::engine::general_purpose::STANDARD.decode(patch).is_ok());
            took
        }
    };
    let idle = memory(process.id(), "VmRSS");
    let before = processor(process.id());
    // By the clock, whether the ones of before are answered or not.
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..(seconds * RATE) as usize {
        ticks.tick().await;
        running.spawn(send(number));
    }
    let mut took: Vec<Duration> = running.join_all().await;
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let own = memory(process.id(), "RssAnon");
    let each = (processor(process.id()) - before) / u32::try_from(took.len()).unwrap();
    println!(
        "{} reviews at {RATE}/s: p50 {:.1?}, p99 {:.1?}, most {:.1?}, {each:.1?} of the processor each; resident {idle} kB before, {} kB after, of which {own} kB are its own (the rest is the binary)",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        memory(process.id(), "VmRSS"),
    );
    assert_eq!(took.len(), (seconds * RATE) as usize);
    // At this rate one core is busy with 20 ms each: then the p99 could not be that.
    assert!(each < Duration::from_millis(20), "{each:?} of the processor for each review");
    // What is left of 15 MB beside the pages of its program, and something for a debug build.
    assert!(own < 8 * 1024, "{own} kB");
}
