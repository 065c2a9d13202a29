//! Requests of others, passed on as they are: for proxies.

use bytes::Bytes;
use holdfast_api_types::header;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header::HeaderName};
use http_body_util::{BodyExt, Full, Limited};

use crate::{Client, Error, MAX_ANSWER, protocol};

/// Headers that belong to one connection, and those that the client sets itself.
const OWN: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// An answer with its headers.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// HTTP status.
    pub status: StatusCode,
    /// Without those that belong to the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// Sends a request with these headers. `target` is path and query from the root of the server, as they came. The
    /// token is that of the headers, or with none there this client's; the namespace likewise.
    pub async fn forward(
        &self,
        method: Method,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Forwarded, Error> {
        let bad = |reason: String| Error::Config(format!("{target}: {reason}"));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.address()))
            .body(Full::new(body).map_err(|never| match never {}).boxed())
            .map_err(|error| bad(error.to_string()))?;
        *request.headers_mut() = passed_on(headers);
        if !headers.contains_key(header::TOKEN)
            && !headers.contains_key(http::header::AUTHORIZATION)
            && let Some(token) = self.token()
        {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| bad("the token has characters no header may carry".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(header::TOKEN), value);
        }
        if !headers.contains_key(header::NAMESPACE)
            && let Some(namespace) = &self.namespace
        {
            let value = HeaderValue::from_str(namespace).map_err(|error| bad(error.to_string()))?;
            request.headers_mut().insert(HeaderName::from_static(header::NAMESPACE), value);
        }
        let exchange = async {
            let response = self.inner.http.request(request).await.map_err(|error| self.unreachable(&error))?;
            let (parts, body) = response.into_parts();
            let body =
                Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| protocol(target, &error.to_string()))?;
            Ok(Forwarded { status: parts.status, headers: passed_on(&parts.headers), body: body.to_bytes() })
        };
        match tokio::time::timeout(self.inner.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                address: self.address(),
                reason: format!("no answer within {:?}", self.inner.timeout),
            }),
        }
    }
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in OWN {
        passed.remove(name);
    }
    passed
}
