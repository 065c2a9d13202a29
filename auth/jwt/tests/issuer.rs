//! An issuer: its discovery document and its keys over HTTP, and tokens that it signs.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use holdfast_harness::NOW;

/// A key that tokens are signed with.
pub struct Signer {
    id: String,
    key: EncodingKey,
    pub public_pem: String,
}

impl Signer {
    pub fn new(id: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { id: id.into(), key, public_pem: pair.public_key_pem() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// Signs a text as it is.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        let part = |text: &str| jsonwebtoken::crypto::sign(text.as_bytes(), &self.key, Algorithm::ES256).unwrap();
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encoded(header), encoded(payload));
        format!("{message}.{}", part(&message))
    }
}

/// Claims of a token for `holdfast` that is good for an hour.
pub fn claims() -> Value {
    json!({"iss": "https://issuer.example", "sub": "ada", "aud": "holdfast", "iat": NOW, "exp": NOW + 3600})
}

pub struct Issuer {
    pub url: String,
    pub state: Arc<State>,
}

#[derive(Default)]
pub struct State {
    pub keys: Mutex<Vec<Value>>,
    /// What the discovery document says other than the truth.
    pub document: Mutex<Option<Value>>,
    /// Status and Location of all answers instead of the right ones.
    pub redirect: Mutex<Option<String>>,
    pub requests: AtomicUsize,
}

impl Issuer {
    pub async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(State::default());
        *state.keys.lock().unwrap() = signers.iter().map(|signer| signer.jwk()).collect();
        let (shared, own) = (state.clone(), url.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, own) = (shared.clone(), own.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), own.clone(), request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, state }
    }

    pub fn add(&self, signer: &Signer) {
        self.state.keys.lock().unwrap().push(signer.jwk());
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

async fn answer(
    state: Arc<State>,
    own: String,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    if let Some(location) = state.redirect.lock().unwrap().clone() {
        return Ok(Response::builder().status(302).header("location", location).body(Full::default()).unwrap());
    }
    let (status, body) = match request.uri().path() {
        "/.well-known/openid-configuration" => {
            let document = state.document.lock().unwrap().clone();
            (200, document.unwrap_or_else(|| json!({"issuer": own, "jwks_uri": format!("{own}/keys")})).to_string())
        }
        "/keys" => (200, json!({"keys": *state.keys.lock().unwrap()}).to_string()),
        "/large" => (200, " ".repeat(2 << 20)),
        _ => (404, String::new()),
    };
    Ok(Response::builder().status(status).body(Full::new(body.into())).unwrap())
}
