//! Requests of the server to outside systems that it does not trust: API servers, OpenID providers, publishers of CRLs.
//!
//! Bounded in size and time; redirects are answers and are not followed, so that a request goes to the host that the
//! configuration names and to no other.

mod trust;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;

/// For a whole request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 1 << 20;

/// Why there is no answer. Texts name the host and never a header.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA is no usable certificate in PEM.
    #[error("{0}")]
    Ca(String),
    /// The URL is none that can be asked.
    #[error("{url:?} is not a URL of the kind https://host/path")]
    Url {
        /// As it was given.
        url: String,
    },
    /// No connection, no answer, or one that is too large.
    #[error("{host} did not answer: {reason}")]
    Unanswered {
        /// Host and port.
        host: String,
        /// What went wrong.
        reason: String,
    },
}

/// What came back, whatever its status.
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Content-Type, or nothing.
    pub content_type: String,
    /// The whole body.
    pub body: Bytes,
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections to outside systems, for one CA at a time.
#[derive(Default)]
pub struct Fetcher(Mutex<Option<(String, Http)>>);

impl Fetcher {
    /// GET of a URL. `ca`: certificates in PEM that the host is trusted by; empty: those of the system.
    pub async fn get(&self, ca: &str, url: &str, accept: &str) -> Result<Answer, Error> {
        let request = Request::get(url)
            .header(header::ACCEPT, accept)
            .body(Bytes::new())
            .map_err(|_| Error::Url { url: url.to_owned() })?;
        self.send(ca, request, MAX_ANSWER).await
    }

    /// Any request; `most` is the largest answer in bytes.
    pub async fn send(&self, ca: &str, request: Request<Bytes>, most: usize) -> Result<Answer, Error> {
        let http = self.http(ca)?;
        let host = host(request.uri()).ok_or_else(|| Error::Url { url: request.uri().to_string() })?;
        let exchange = async {
            let answer = http.request(request.map(Full::new)).await.map_err(|error| chain(&error))?;
            let status = answer.status().as_u16();
            let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = content_type.unwrap_or_default().to_owned();
            let body = Limited::new(answer.into_body(), most).collect().await.map_err(|error| error.to_string())?;
            Ok(Answer { status, content_type, body: body.to_bytes() })
        };
        let outcome = tokio::time::timeout(TIMEOUT, exchange).await;
        outcome
            .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
            .map_err(|reason: String| Error::Unanswered { host, reason })
    }

    fn http(&self, ca: &str) -> Result<Http, Error> {
        let mut kept = self.0.lock();
        if let Some((of, http)) = &*kept
            && of == ca
        {
            return Ok(http.clone());
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::client_config(ca)?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        *kept = Some((ca.to_owned(), http.clone()));
        Ok(http)
    }
}

/// `host:port` of a URL with `http` or `https`.
fn host(uri: &Uri) -> Option<String> {
    matches!(uri.scheme_str(), Some("http" | "https")).then(|| uri.authority().map(ToString::to_string)).flatten()
}

/// An error with its causes; hyper tells only the first one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_url_and_what_is_no_ca_is_named() {
        for url in ["", "host/path", "ftp://host/x", "/path"] {
            let error = Fetcher::default().get("", url, "*/*").await.err().unwrap();
            assert!(error.to_string().contains(url), "{error}");
        }
        let error = Fetcher::default().get("no pem", "https://127.0.0.1:1/", "*/*").await.err().unwrap();
        assert!(matches!(error, Error::Ca(_)), "{error}");
    }
}
