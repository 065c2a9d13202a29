//! As much of a Holdfast server as the operator asks for, in memory: enough to see what it does, with a switch to be away.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the server holds.
#[derive(Default)]
pub struct Held {
    /// Everything that is written and read back, by path.
    pub records: BTreeMap<String, Value>,
    /// `owner item` → lease.
    pub bound: BTreeMap<String, String>,
    /// Leases whose revocation the database does not let through: released, but there.
    pub stuck: bool,
    /// Number of credentials that were ever made.
    pub minted: usize,
}

/// A server on a port of its own.
#[derive(Clone)]
pub struct StandIn {
    pub address: String,
    pub held: Arc<Mutex<Held>>,
    away: Arc<AtomicBool>,
}

impl StandIn {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, held: Arc::default(), away: Arc::default() };
        let answering = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = answering.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| server.clone().answer(request));
                    // A client that hangs up is no concern of the test.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        server
    }

    /// Answers 503 from now on, or not any more.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(json!({}));
        let path = parts.uri.path().trim_start_matches("/v1/").to_owned();
        let header =
            |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let headers: HashMap<_, _> = ["x-holdfast-owner", "x-holdfast-item"].map(|name| (name, header(name))).into();
        let list = parts.uri.query().is_some_and(|query| query.contains("list=true"));
        let (status, answer) = if self.away.load(Ordering::Relaxed) {
            (503, json!({ "errors": ["sealed"] }))
        } else {
            self.held.lock().unwrap().route(&parts.method, &path, list, &body, &headers)
        };
        let text = if status == 204 { Bytes::new() } else { Bytes::from(answer.to_string()) };
        let mut response = Response::new(Full::new(text));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok(response)
    }
}

impl Held {
    fn route(
        &mut self,
        method: &Method,
        path: &str,
        list: bool,
        body: &Value,
        headers: &HashMap<&str, String>,
    ) -> (u16, Value) {
        let absent = || (404, json!({ "errors": [] }));
        if path == "auth/kubernetes/login" {
            return (200, json!({ "data": null, "auth": { "client_token": "t", "lease_duration": 3600 } }));
        }
        if let Some(mount) = path.strip_prefix("sys/leases/revoke-prefix/") {
            self.bound.retain(|_, lease| !lease.starts_with(&format!("{mount}/")));
            return (204, Value::Null);
        }
        if path == "sys/leases/lookup" {
            let answer = json!({ "data": { "id": body["lease_id"] } });
            return if self.stuck { (200, answer) } else { (400, json!({ "errors": ["invalid lease"] })) };
        }
        if path == "sys/leases/renew" {
            let seconds = body["increment"].as_u64().unwrap_or(3600);
            return (200, json!({ "data": null, "lease_duration": seconds, "renewable": true }));
        }
        if let Some(owner) = path.strip_prefix("sys/bindings/") {
            return self.bindings(method, owner, list);
        }
        if path.contains("/creds/") {
            return self.credential(path, headers);
        }
        match *method {
            Method::GET => match self.records.get(path) {
                Some(record) => (200, json!({ "data": record })),
                None if path.starts_with("sys/mounts/") => (400, json!({ "errors": ["no mount"] })),
                None => absent(),
            },
            Method::DELETE => {
                let below = path.strip_prefix("sys/mounts/").map(|mount| format!("{mount}/"));
                self.records.retain(|key, _| key != path && below.as_ref().is_none_or(|below| !key.starts_with(below)));
                (204, Value::Null)
            }
            _ => {
                let mut record = body.clone();
                if path.ends_with("/config/main") {
                    record["connection_details"] = json!({ "connection_url": body["connection_url"] });
                }
                self.records.insert(path.to_owned(), record);
                (204, Value::Null)
            }
        }
    }

    fn bindings(&mut self, method: &Method, owner: &str, list: bool) -> (u16, Value) {
        if method == Method::DELETE {
            let (all, one) =
                (format!("{owner} "), owner.rsplit_once('/').map(|(owner, item)| format!("{owner} {item}")));
            self.bound.retain(|key, _| !key.starts_with(&all) && Some(key) != one.as_ref());
            return (204, Value::Null);
        }
        if list {
            let owners =
                self.bound.keys().filter_map(|key| key.strip_prefix(owner)?.strip_prefix('/')?.split(' ').next());
            let owners: BTreeSet<_> = owners.collect();
            let status = if owners.is_empty() { 404 } else { 200 };
            return (status, json!({ "data": { "keys": owners } }));
        }
        let prefix = format!("{owner} ");
        let items = self.bound.iter().filter_map(|(key, lease)| Some((key.strip_prefix(&prefix)?, lease)));
        let items: BTreeMap<_, _> =
            items.map(|(item, lease)| (item.to_owned(), json!({ "lease_id": lease }))).collect();
        if items.is_empty() { (404, json!({ "errors": [] })) } else { (200, json!({ "data": { "items": items } })) }
    }

    fn credential(&mut self, path: &str, headers: &HashMap<&str, String>) -> (u16, Value) {
        let key = format!("{} {}", headers["x-holdfast-owner"], headers["x-holdfast-item"]);
        if !self.bound.contains_key(&key) {
            self.minted += 1;
            self.bound.insert(key.clone(), format!("{path}/{}", self.minted));
        }
        let lease = &self.bound[&key];
        let user = format!("user-{}", lease.rsplit('/').next().unwrap_or_default());
        let data = json!({ "username": user, "password": "p" });
        (200, json!({ "data": data, "lease_id": lease, "lease_duration": 3600, "renewable": true }))
    }
}
