//! A small server that speaks what the driver asks for: login, reads with and without lease, renewals, bindings; and
//! DynamicCredential objects, as the Kubernetes API would.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use holdfast_base::{Clock, SystemClock};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

/// What it knows. Tests change it while it runs.
#[derive(Default)]
pub struct World {
    /// Answers 503 to everything.
    pub away: bool,
    /// Tells of changes. What is sent goes to all who listen.
    pub events: Option<tokio::sync::broadcast::Sender<String>>,
    /// Taints of the node, as the Kubernetes API has them.
    pub taints: Vec<Value>,
    /// Events at pods: reason and note.
    pub told: Vec<(String, String)>,
    /// Answers 403 to reads of these paths.
    pub forbidden: Vec<String>,
    /// SecretProviderClasses: name → parameters.
    pub classes: BTreeMap<String, BTreeMap<String, String>>,
    /// Unleased values.
    pub kv: BTreeMap<String, Value>,
    /// Seconds that new leases have, and renewals give.
    pub ttl: u64,
    pub renewal: u64,
    /// (pod uid, item) → lease id and its data.
    pub bound: BTreeMap<(String, String), (String, Value)>,
    /// Seconds that certificates are good for, if they say so.
    pub good_for: Option<u64>,
    /// Tokens → pod uid; `driver` for the driver's own.
    pub tokens: HashMap<String, String>,
    pub minted: usize,
    pub issued: usize,
    /// Of pods.
    pub logins: usize,
    pub renewals: usize,
    pub reads: usize,
}

pub struct Server {
    pub address: SocketAddr,
    pub world: Arc<Mutex<World>>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World { ttl: 3600, renewal: 3600, ..World::default() }));
        let shared = world.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let world = shared.clone();
                tokio::spawn(
                    http1::Builder::new()
                        .serve_connection(
                            TokioIo::new(stream),
                            service_fn(move |request| answer(world.clone(), request)),
                        )
                        .with_upgrades(),
                );
            }
        });
        Self { address, world }
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.world.lock().unwrap())
    }
}

async fn answer(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path().starts_with("/v1/sys/events/subscribe/") {
        return Ok(subscribe(&world, request));
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, answer) = {
        let mut world = world.lock().unwrap();
        let path = parts.uri.path().to_owned();
        if let Some(object) = path.strip_prefix("/apis/holdfast.dev/v1alpha1/namespaces/") {
            credential(object)
        } else if let Some(class) =
            path.strip_prefix("/apis/secrets-store.csi.x-k8s.io/v1/namespaces/shop/secretproviderclasses/")
        {
            match world.classes.get(class) {
                Some(parameters) => (
                    200,
                    json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
                    "metadata": {"name": class, "namespace": "shop"},
                    "spec": {"provider": "vault", "parameters": parameters}}),
                ),
                None => not_found(),
            }
        } else if path == "/api/v1/nodes/node-1" {
            if parts.method == "PATCH" {
                assert_eq!(body[0]["value"], json!(world.taints), "it tests what it replaces");
                world.taints = serde_json::from_value(body[1]["value"].clone()).unwrap();
            }
            (
                200,
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "spec": {"taints": world.taints}}),
            )
        } else if path == "/apis/events.k8s.io/v1/namespaces/shop/events" {
            let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
            assert_eq!((text("/regarding/kind"), text("/regarding/uid").is_empty()), ("Pod".to_owned(), false));
            world.told.push((text("/reason"), text("/note")));
            (201, body)
        } else if path == "/api/v1/namespaces/shop/serviceaccounts/orders/token" {
            world.v1_token(&body)
        } else if world.away {
            (503, json!({"errors": ["away"]}))
        } else {
            let path = path.strip_prefix("/v1/").unwrap().to_owned();
            let path = parts.uri.query().map_or(path.clone(), |query| format!("{path}?{query}"));
            world.v1(parts.method.as_str(), &path, &body, &header)
        }
    };
    let text = if answer.is_null() { String::new() } else { answer.to_string() };
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(text))).unwrap())
}

/// A WebSocket on which every message of the world goes out.
fn subscribe(world: &Arc<Mutex<World>>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    use futures::SinkExt;
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
    };
    let Some(mut events) = world.lock().unwrap().events.as_ref().map(|events| events.subscribe()) else {
        let mut response = Response::new(Full::new(Bytes::from(r#"{"errors":[]}"#)));
        *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        return response;
    };
    let key = derive_accept_key(request.headers()["sec-websocket-key"].as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgraded.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Ok(event) = events.recv().await {
            if socket.send(Message::text(event)).await.is_err() {
                return;
            }
        }
        let _ = socket.close(None).await;
    });
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", key)
        .body(Full::default())
        .unwrap()
}

fn credential(object: &str) -> (u16, Value) {
    let found = |name: &str, ttl: Option<&str>| {
        json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "DynamicCredential",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"engineRef": {"name": "orders-db"}, "role": "readonly", "ttl": ttl}})
    };
    match object {
        "shop/dynamiccredentials/orders-ro" => (200, found("orders-ro", None)),
        "shop/dynamiccredentials/orders-short" => (200, found("orders-short", Some("6s"))),
        _ => not_found(),
    }
}

fn not_found() -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": "not found", "metadata": {}});
    (404, status)
}

impl World {
    fn v1(&mut self, method: &str, path: &str, body: &Value, header: &dyn Fn(&str) -> Option<String>) -> (u16, Value) {
        if path == "auth/kubernetes/login" {
            return self.login(body);
        }
        let Some(uid) = header("x-vault-token").and_then(|token| self.tokens.get(&token).cloned()) else {
            return (403, json!({"errors": ["permission denied"]}));
        };
        if let Some(rest) = path.strip_prefix("sys/bindings/pod/") {
            assert_eq!(uid, "driver", "bindings are the driver's own business");
            return self.bindings(method, rest);
        }
        if path == "sys/leases/renew" {
            self.renewals += 1;
            let id = body["lease_id"].as_str().unwrap();
            let granted = body["increment"].as_u64().map_or(self.renewal, |wanted| wanted.min(self.renewal));
            return match self.bound.values().any(|(lease, _)| lease == id) {
                true => (200, json!({"lease_id": id, "lease_duration": granted, "renewable": true})),
                false => (400, json!({"errors": ["invalid lease"]})),
            };
        }
        self.reads += 1;
        if self.forbidden.iter().any(|forbidden| forbidden == path) {
            return (403, json!({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}));
        }
        if let Some(value) = self.kv.get(path) {
            return (200, json!({"data": {"data": value, "metadata": {"version": 1}}}));
        }
        if path.contains("/issue/") {
            assert_eq!(method, "PUT");
            self.issued += 1;
            let certificate = format!("{}-{}", body["common_name"].as_str().unwrap(), self.issued);
            let now = SystemClock.now().as_second().unsigned_abs();
            let ends = self.good_for.map(|seconds| now + seconds);
            return (200, json!({"data": {"certificate": certificate, "expiration": ends}}));
        }
        if path.contains("/creds/") {
            return self.credential(path, uid, header);
        }
        (404, json!({"errors": []}))
    }

    /// The cluster makes a token, bound to the pod that the request names.
    fn v1_token(&mut self, body: &Value) -> (u16, Value) {
        let pod = &body["spec"]["boundObjectRef"];
        assert_eq!((pod["kind"].as_str(), pod["name"].as_str()), (Some("Pod"), Some("orders-1")));
        let mut answer = body.clone();
        let tokens: Value = serde_json::from_str(&crate::node::tokens(pod["uid"].as_str().unwrap())).unwrap();
        answer["status"] = json!({"token": tokens["holdfast"]["token"], "expirationTimestamp": "2036-11-24T00:00:00Z"});
        (201, answer)
    }

    fn login(&mut self, body: &Value) -> (u16, Value) {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let jwt = body["jwt"].as_str().unwrap();
        let uid = if body["role"] == "holdfast-csi" {
            assert_eq!(jwt, "own-token");
            "driver".to_owned()
        } else {
            self.logins += 1;
            let payload = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&payload).unwrap();
            claims["kubernetes.io"]["pod"]["uid"].as_str().unwrap().to_owned()
        };
        let token = format!("hvs.{}", self.tokens.len());
        self.tokens.insert(token.clone(), uid);
        let auth = json!({"client_token": token, "accessor": "a", "policies": [], "token_policies": [],
            "metadata": {}, "lease_duration": 3600, "renewable": true, "entity_id": "", "token_type": "service",
            "orphan": true, "num_uses": 0, "mfa_requirement": null});
        (200, json!({"auth": auth}))
    }

    fn bindings(&mut self, method: &str, rest: &str) -> (u16, Value) {
        match (method, rest.split_once('/')) {
            ("GET", None) => {
                let items: BTreeMap<_, _> = self
                    .bound
                    .iter()
                    .filter(|((uid, _), _)| uid == rest)
                    .map(|((_, item), (lease, _))| (item.clone(), json!({"lease_id": lease})))
                    .collect();
                (200, json!({"data": {"items": items}}))
            }
            ("DELETE", Some((uid, item))) => {
                self.bound.remove(&(uid.to_owned(), item.to_owned()));
                (204, Value::Null)
            }
            other => panic!("{other:?}"),
        }
    }

    fn credential(&mut self, path: &str, uid: String, header: &dyn Fn(&str) -> Option<String>) -> (u16, Value) {
        let item = header("x-holdfast-item").expect("a leased read names its item");
        let key = (uid, item);
        let replace = header("x-holdfast-replace");
        let current = self.bound.get(&key).filter(|(lease, _)| replace.as_ref() != Some(lease)).cloned();
        let (lease, data) = current.unwrap_or_else(|| {
            self.minted += 1;
            let n = self.minted;
            (format!("{path}/{n}"), json!({"username": format!("user-{n}"), "password": format!("password-{n}")}))
        });
        self.bound.insert(key, (lease.clone(), data.clone()));
        (200, json!({"lease_id": lease, "lease_duration": self.ttl, "renewable": true, "data": data}))
    }
}
