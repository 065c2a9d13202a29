//! A cluster's API server: its keys and TokenReview, over HTTP or TLS.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// When all this happens; the mounts' clocks start here.
pub const NOW: i64 = 1_700_000_000;

/// A key that the cluster signs with.
pub struct Signer {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
    pub public_pem: String,
}

impl Signer {
    pub fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { id: id.into(), algorithm: Algorithm::RS256, key, public_pem: pair.public_key_pem() }
    }

    pub fn ec(id: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { id: id.into(), algorithm: Algorithm::ES256, key, public_pem: pair.public_key_pem() }
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        jwk
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// What a pod's token of an account says.
pub fn claims(namespace: &str, account: &str) -> Value {
    json!({
        "iss": "https://kubernetes.default.svc", "aud": ["holdfast"], "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "exp": NOW + 3600, "iat": NOW, "nbf": NOW,
        "kubernetes.io": {
            "namespace": namespace, "serviceaccount": {"name": account, "uid": format!("uid-{account}")},
            "pod": {"name": format!("{account}-0"), "uid": format!("pod-{account}")},
        },
    })
}

#[derive(Default)]
pub struct State {
    pub keys: Mutex<Vec<Jwk>>,
    pub key_requests: AtomicUsize,
    pub reviews: Mutex<Vec<Value>>,
    /// `status` of every TokenReview; none: as the token itself says.
    pub verdict: Mutex<Option<Value>>,
}

pub struct Cluster {
    pub host: String,
    pub ca: String,
    pub state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Cluster {
    pub async fn start(signers: &[&Signer], tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        *state.keys.lock().unwrap() = signers.iter().map(|signer| signer.jwk()).collect();
        let (acceptor, ca) = if tls { acceptor() } else { (None, String::new()) };
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, acceptor) = (shared.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let _ = match acceptor {
                        None => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        let scheme = if tls { "https" } else { "http" };
        Self { host: format!("{scheme}://127.0.0.1:{port}"), ca, state, task }
    }

    pub fn add(&self, signer: &Signer) {
        self.state.keys.lock().unwrap().push(signer.jwk());
    }

    pub fn key_requests(&self) -> usize {
        self.state.key_requests.load(Ordering::SeqCst)
    }

    pub fn reviews(&self) -> usize {
        self.state.reviews.lock().unwrap().len()
    }

    pub fn says(&self, verdict: Value) {
        *self.state.verdict.lock().unwrap() = Some(verdict);
    }

    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let accept = request.headers().get("accept").map_or("", |value| value.to_str().unwrap());
    let (status, body) = match (request.uri().path(), bearer.as_deref()) {
        // As the real one does.
        ("/openid/v1/jwks", _) if !accept.contains("application/jwk-set+json") => (406, Value::Null),
        (_, Some("Bearer stranger") | None) => (403, json!({"kind": "Status"})),
        ("/openid/v1/jwks", _) => {
            state.key_requests.fetch_add(1, Ordering::SeqCst);
            (200, json!({"keys": *state.keys.lock().unwrap()}))
        }
        ("/apis/authentication.k8s.io/v1/tokenreviews", _) => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let verdict = state.verdict.lock().unwrap().clone();
            let status = verdict.unwrap_or_else(|| verdict_of(&review));
            state.reviews.lock().unwrap().push(review);
            (201, json!({"kind": "TokenReview", "status": status}))
        }
        _ => (404, Value::Null),
    };
    Ok(Response::builder().status(status).body(Full::new(body.to_string().into())).unwrap())
}

fn verdict_of(review: &Value) -> Value {
    let claims: Value =
        jsonwebtoken::dangerous::insecure_decode_claims(review["spec"]["token"].as_str().unwrap()).unwrap();
    let uid = &claims["kubernetes.io"]["serviceaccount"]["uid"];
    json!({"authenticated": true, "user": {"username": claims["sub"], "uid": uid}, "audiences": review["spec"]["audiences"]})
}

fn acceptor() -> (Option<TlsAcceptor>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (Some(TlsAcceptor::from(Arc::new(config))), ca)
}
