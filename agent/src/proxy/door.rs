//! One listener: what it answers itself, what it passes on, and with whose token.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_api_types::header;
use holdfast_client::{Client, Error as ClientError, Forwarded};
use holdfast_secret::SecretString;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::{
    Front,
    cache::{Asked, Clear},
};
use crate::config::{Listener, UseToken};

/// Largest body of a request: the server's own limit is 32 MiB.
const MAX_BODY: usize = 32 << 20;

/// One listener.
pub(super) struct Door {
    front: Arc<Front>,
    listener: Listener,
}

impl Door {
    pub(super) fn new(front: Arc<Front>, listener: Listener) -> Self {
        Self { front, listener }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if path == "/agent/v1/metrics" {
            let text = self.front.admin.metrics_text();
            return plain(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text);
        }
        if self.listener.metrics_only {
            return refused(StatusCode::NOT_FOUND, "this listener has /agent/v1/metrics only");
        }
        let asked_for = request.headers().get(header::REQUEST).is_some_and(|value| value == "true");
        if self.listener.require_request_header && !asked_for {
            return refused(StatusCode::PRECONDITION_FAILED, "missing 'X-Vault-Request' header");
        }
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or was broken off"),
        };
        match (path.as_str(), &parts.method) {
            ("/agent/v1/quit", &Method::POST) if self.listener.enable_quit => {
                info!("an application ends the agent");
                self.front.shutdown.cancel();
                plain(StatusCode::OK, "text/plain", String::new())
            }
            ("/agent/v1/cache-clear", &Method::POST | &Method::PUT) => self.clear(&body),
            (path, _) if path.starts_with("/agent/") => refused(StatusCode::NOT_FOUND, "no such path of the agent"),
            (path, _) if !path.starts_with("/v1/") => refused(StatusCode::NOT_FOUND, "only /v1/ is passed on"),
            _ if parts.headers.contains_key(http::header::UPGRADE) => {
                refused(StatusCode::NOT_IMPLEMENTED, "WebSockets are not passed on; ask the server itself")
            }
            _ => self.pass_on(&parts, body).await,
        }
    }

    async fn pass_on(&self, parts: &http::request::Parts, body: Bytes) -> Response<Full<Bytes>> {
        let mut headers = parts.headers.clone();
        let own = headers.contains_key(header::TOKEN) || headers.contains_key(http::header::AUTHORIZATION);
        let agents = match self.front.proxy.use_token {
            UseToken::Never => false,
            UseToken::Missing => !own,
            UseToken::Always => true,
        };
        let client = if agents {
            headers.remove(header::TOKEN);
            headers.remove(http::header::AUTHORIZATION);
            let Some(client) = self.front.connection.borrow().clone() else {
                return refused(StatusCode::SERVICE_UNAVAILABLE, "the agent has not logged in yet");
            };
            client
        } else {
            self.front.unnamed.clone()
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let outcome = self.exchange(client, agents, parts.method.clone(), target, headers, body).await;
        self.front.metrics.proxied(outcome.as_ref().ok().map(|answer| answer.status.as_u16()));
        match outcome {
            Ok(answer) => {
                let mut response = Response::new(Full::new(answer.body));
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                response
            }
            Err(error) => {
                warn!(path = parts.uri.path(), %error, "cannot pass a request on");
                refused(StatusCode::BAD_GATEWAY, &error.to_string())
            }
        }
    }

    async fn exchange(
        &self,
        client: Client,
        agents: bool,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Forwarded, Arc<ClientError>> {
        let Some(cache) = &self.front.cache else {
            return client.forward(method, target, &headers, body).await.map_err(Arc::new);
        };
        let token = match token_of(&headers) {
            Some(token) => Some(token),
            None => client.token().map(SecretString::duplicate),
        };
        let asked = Asked { client, agents, token, method, target: target.to_owned(), headers, body };
        let (answer, hit) = cache.answer(asked).await?;
        self.front.metrics.cached(hit);
        let mut answer = answer;
        answer.headers.insert("x-cache", http::HeaderValue::from_static(if hit { "HIT" } else { "MISS" }));
        Ok(answer)
    }

    fn clear(&self, body: &Bytes) -> Response<Full<Bytes>> {
        let Some(cache) = &self.front.cache else {
            return refused(StatusCode::BAD_REQUEST, "there is no cache; configure cache {}");
        };
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let value = wanted["value"].as_str().unwrap_or_default();
        let which = match wanted["type"].as_str() {
            Some("all") => Clear::All,
            Some("request_path") => Clear::Path(value),
            Some("lease") => Clear::Lease(value),
            Some("token") => Clear::Token(value),
            Some("token_accessor") => Clear::Accessor(value),
            _ => {
                let text = "type: use request_path, lease, token, token_accessor or all";
                return refused(StatusCode::BAD_REQUEST, text);
            }
        };
        let removed = cache.clear(&which);
        debug!(removed, "cache cleared");
        plain(StatusCode::OK, "application/json", "{}".to_owned())
    }
}

/// The token that a request brings.
fn token_of(headers: &HeaderMap) -> Option<SecretString> {
    let own = headers.get(header::TOKEN).and_then(|value| value.to_str().ok());
    let bearer = || headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
    own.or_else(bearer).map(SecretString::new)
}

fn refused(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    plain(status, "application/json", json!({ "errors": [reason] }).to_string())
}

fn plain(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
