//! A typed client of the Vault HTTP API: what operator, CSI driver, agent and CLI speak to the server with.
//!
//! One [`Client`] is one address, one TLS configuration, one connection pool. It is cheap to clone; [`Client::with_token`]
//! gives a clone that carries another token. Tokens never appear in errors or logs.

pub mod advice;
pub mod certificate;
pub mod changes;
mod events;
mod forward;
mod roots;
mod transfer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use holdfast_api_types::{Envelope, ErrorBody, Health, InitRequest, InitResponse, SealStatus, header};
use holdfast_secret::SecretString;
use http::{Method, Request, StatusCode, Uri, header::HeaderName, header::HeaderValue};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value};

pub use events::{EventStream, Over};
pub use forward::Forwarded;

/// The body of a request.
type Outgoing = BoxBody<Bytes, std::io::Error>;

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to one server.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    token: Option<Arc<SecretString>>,
    namespace: Option<Arc<str>>,
    headers: Arc<[(HeaderName, HeaderValue)]>,
}

struct Inner {
    http: HyperClient<HttpsConnector<HttpConnector>, Outgoing>,
    address: Uri,
    timeout: Duration,
}

/// How to reach a server.
#[derive(Debug, Default)]
pub struct Config {
    /// `https://host:port`, without path.
    pub address: String,
    /// PEM of the certificate authorities to trust.
    pub ca_pem: Option<Vec<u8>>,
    /// The same in a file, which is read again when it changes; counts before `ca_pem`.
    pub ca_file: Option<PathBuf>,
    /// PEM of client certificate chain and key.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Do not check the server's certificate. Says so in the name of the flag that sets it.
    pub tls_skip_verify: bool,
    /// Name to expect in the certificate instead of the address's.
    pub tls_server_name: Option<String>,
    /// For a whole request; default 60 s.
    pub timeout: Option<Duration>,
}

/// One request beyond the common verbs.
#[derive(Debug, Default)]
pub struct Call {
    /// HTTP method; LIST goes out as `GET ?list=true`.
    pub method: Method,
    /// Path below `/v1/`.
    pub path: String,
    /// Query string without `?`.
    pub query: String,
    /// JSON body.
    pub body: Option<Value>,
    /// Additional headers.
    pub headers: Vec<(&'static str, String)>,
}

/// An answer with its status.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content-Type.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer, or what the server said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration of the client is wrong.
    #[error("{0}")]
    Config(String),
    /// The server was not reached, or did not answer in time.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// The server.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// The server answered with an error status.
    #[error("{}", describe(*.status, .path, .errors))]
    Status {
        /// HTTP status.
        status: u16,
        /// Path of the request.
        path: String,
        /// The server's words.
        errors: Vec<String>,
    },
    /// The answer is not what the protocol says.
    #[error("{path}: unexpected answer: {reason}")]
    Protocol {
        /// Path of the request.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// May the same request work later without anything being changed?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 412 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// The reason, with what it means when the two sides do not agree on TLS.
fn advised(reason: String, scheme: Option<&str>) -> String {
    let advice = match scheme {
        // Rustls takes the first bytes of an HTTP answer for a record of an unknown type.
        Some("https") if reason.contains("InvalidContentType") => {
            "the server speaks HTTP without TLS: is its address http://…? (VAULT_ADDR)"
        }
        _ => return reason,
    };
    format!("{reason}; {advice}")
}

fn describe(status: u16, path: &str, errors: &[String]) -> String {
    if errors.is_empty() {
        return format!("{path}: status {status}");
    }
    format!("{path}: status {status}: {}", errors.join("; "))
}

// === impl Client ===

impl Client {
    /// A client without token. Fails on a bad address or certificate, not on an absent server.
    pub fn new(config: Config) -> Result<Self, Error> {
        let address: Uri =
            config.address.parse().map_err(|error| Error::Config(format!("address {:?}: {error}", config.address)))?;
        if !matches!(address.scheme_str(), Some("http" | "https")) || address.host().is_none() {
            return Err(Error::Config(format!(
                "address {:?}: give http://host:port or https://host:port",
                config.address
            )));
        }
        let tls = tls::client_config(&config)?;
        let mut builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        if let Some(name) = &config.tls_server_name {
            let name = rustls::pki_types::ServerName::try_from(name.clone())
                .map_err(|error| Error::Config(format!("TLS server name {name:?}: {error}")))?;
            builder = builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        let connector = builder.enable_http1().wrap_connector(tcp);
        let http =
            HyperClient::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(60)).build(connector);
        let timeout = config.timeout.unwrap_or(Duration::from_secs(60));
        Ok(Self {
            inner: Arc::new(Inner { http, address, timeout }),
            token: None,
            namespace: None,
            headers: Arc::default(),
        })
    }

    /// The same connection with another token.
    pub fn with_token(&self, token: SecretString) -> Self {
        Self { token: Some(Arc::new(token)), ..self.clone() }
    }

    /// The same connection without a token.
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The same connection below a namespace.
    pub fn with_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.into()), ..self.clone() }
    }

    /// The same connection with headers that every request carries.
    pub fn with_headers(&self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { headers: headers.into(), ..self.clone() }
    }

    /// The headers that every request carries.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The namespace that paths are below.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The token that requests carry.
    pub fn token(&self) -> Option<&SecretString> {
        self.token.as_deref()
    }

    /// The server.
    pub fn address(&self) -> String {
        self.inner.address.to_string().trim_end_matches('/').to_owned()
    }

    /// GET; `None` when there is nothing (404).
    pub async fn read(&self, path: &str) -> Result<Option<Envelope>, Error> {
        self.envelope_or_none(Call { path: path.to_owned(), ..Call::default() }).await
    }

    /// GET with additional headers; `None` when there is nothing (404).
    pub async fn read_with(&self, path: &str, headers: Vec<(&'static str, String)>) -> Result<Option<Envelope>, Error> {
        self.envelope_or_none(Call { path: path.to_owned(), headers, ..Call::default() }).await
    }

    /// PUT; `None` when the server answers without a body (204).
    pub async fn write(&self, path: &str, body: Value) -> Result<Option<Envelope>, Error> {
        self.envelope(Call { method: Method::PUT, path: path.to_owned(), body: Some(body), ..Call::default() }).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Option<Envelope>, Error> {
        self.envelope(Call { method: Method::DELETE, path: path.to_owned(), ..Call::default() }).await
    }

    /// LIST; empty when there is nothing.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, Error> {
        let call = Call { path: path.to_owned(), query: "list=true".to_owned(), ..Call::default() };
        let Some(envelope) = self.envelope_or_none(call).await? else { return Ok(Vec::new()) };
        let keys = envelope.data.and_then(|mut data| data.remove("keys"));
        let Some(Value::Array(keys)) = keys else { return Ok(Vec::new()) };
        Ok(keys.into_iter().filter_map(|key| key.as_str().map(str::to_owned)).collect())
    }

    /// `POST auth/<mount>/login` of the kubernetes method; an empty role lets the server choose the one of the service
    /// account. Answers a client that carries the new token, and the envelope with its `auth`.
    pub async fn login_kubernetes(
        &self,
        mount: &str,
        role: &str,
        jwt: &SecretString,
    ) -> Result<(Self, Envelope), Error> {
        let mut body = Map::new();
        body.insert("jwt".to_owned(), Value::String(jwt.expose().to_owned()));
        if !role.is_empty() {
            body.insert("role".to_owned(), Value::String(role.to_owned()));
        }
        self.login(mount, body).await
    }

    /// `POST auth/<mount>/login` with what the method wants. Answers a client that carries the new token, and the envelope
    /// with its `auth`.
    pub async fn login(&self, mount: &str, body: Map<String, Value>) -> Result<(Self, Envelope), Error> {
        let path = format!("auth/{}/login", mount.trim_matches('/').trim_start_matches("auth/"));
        let envelope = self.without_token().write(&path, Value::Object(body)).await?;
        let envelope = envelope.ok_or_else(|| protocol(&path, "no body"))?;
        let token = envelope.auth.as_ref().map(|auth| SecretString::new(auth.client_token.as_str()));
        let token = token.ok_or_else(|| protocol(&path, "no auth"))?;
        Ok((self.with_token(token), envelope))
    }

    /// The credential of `item` at `path` that belongs to the token's pod (or to `owner`, `kind/uid`): the one that is
    /// there, or a new one. `replace` names the lease that is to be replaced by a new one.
    pub async fn read_bound(
        &self,
        path: &str,
        item: &str,
        owner: Option<&str>,
        replace: Option<&str>,
    ) -> Result<Option<Envelope>, Error> {
        let mut headers = vec![(header::ITEM, item.to_owned())];
        headers.extend(owner.map(|owner| (header::OWNER, owner.to_owned())));
        headers.extend(replace.map(|lease| (header::REPLACE, lease.to_owned())));
        self.read_with(path, headers).await
    }

    /// `PUT sys/leases/renew`: the lease's new duration in seconds.
    pub async fn renew_lease(&self, lease_id: &str, increment: Option<Duration>) -> Result<Envelope, Error> {
        let mut body = serde_json::json!({ "lease_id": lease_id });
        if let Some(increment) = increment {
            body["increment"] = Value::from(increment.as_secs());
        }
        self.write("sys/leases/renew", body).await?.ok_or_else(|| protocol("sys/leases/renew", "no body"))
    }

    /// `PUT sys/leases/revoke` with `sync`.
    pub async fn revoke_lease(&self, lease_id: &str) -> Result<(), Error> {
        self.write("sys/leases/revoke", serde_json::json!({ "lease_id": lease_id, "sync": true })).await.map(drop)
    }

    /// `GET sys/seal-status`.
    pub async fn seal_status(&self) -> Result<SealStatus, Error> {
        self.bare(Call { path: "sys/seal-status".to_owned(), ..Call::default() }).await
    }

    /// `GET sys/health`, whatever status it answers with.
    pub async fn health(&self) -> Result<Health, Error> {
        let answer = self.call(Call { path: "sys/health".to_owned(), ..Call::default() }).await?;
        serde_json::from_slice(&answer.body).map_err(|error| protocol("sys/health", &error.to_string()))
    }

    /// `PUT sys/init`.
    pub async fn init(&self, request: &InitRequest) -> Result<InitResponse, Error> {
        let body = serde_json::to_value(request).map_err(|error| protocol("sys/init", &error.to_string()))?;
        self.bare(Call { method: Method::PUT, path: "sys/init".to_owned(), body: Some(body), ..Call::default() }).await
    }

    /// Any call whose 200 answer is not an envelope.
    pub async fn bare<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let path = call.path.clone();
        let answer = self.call(call).await?.into_success(&path)?;
        serde_json::from_slice(&answer.body).map_err(|error| protocol(&path, &error.to_string()))
    }

    /// Any call whose answer is an envelope, or nothing (204).
    pub async fn envelope(&self, call: Call) -> Result<Option<Envelope>, Error> {
        let path = call.path.clone();
        let answer = self.call(call).await?.into_success(&path)?;
        if answer.body.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&answer.body).map(Some).map_err(|error| protocol(&path, &error.to_string()))
    }

    async fn envelope_or_none(&self, call: Call) -> Result<Option<Envelope>, Error> {
        match self.envelope(call).await {
            Err(Error::Status { status: 404, ref errors, .. }) if errors.is_empty() => Ok(None),
            other => other,
        }
    }

    /// Any call; error statuses come back as answers.
    pub async fn call(&self, call: Call) -> Result<Answer, Error> {
        let path = call.path.clone();
        let request = self.request(call)?;
        let exchange = async {
            let response = self.inner.http.request(request).await.map_err(|error| self.unreachable(&error))?;
            let (parts, body) = response.into_parts();
            let body =
                Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| protocol(&path, &error.to_string()))?;
            let content_type = parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Ok(Answer {
                status: parts.status.as_u16(),
                content_type: content_type.unwrap_or_default().to_owned(),
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(self.inner.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                address: self.address(),
                reason: format!("no answer within {:?}", self.inner.timeout),
            }),
        }
    }

    fn request(&self, call: Call) -> Result<Request<Outgoing>, Error> {
        let bad = |reason: String| Error::Config(format!("{}: {reason}", call.path));
        let mut target = format!("{}/v1/{}", self.address(), escape(&call.path));
        if !call.query.is_empty() {
            target = format!("{target}?{}", call.query);
        }
        let mut request = Request::builder().method(call.method.clone()).uri(target).header(header::REQUEST, "true");
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| bad("the token has characters no header may carry".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(header::TOKEN, value);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header(header::NAMESPACE, namespace.as_ref());
        }
        for (name, value) in self.headers.iter() {
            request = request.header(name, value);
        }
        for (name, value) in &call.headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        let body = match &call.body {
            Some(body) => {
                let patch = call.method == Method::PATCH;
                request = request
                    .header("content-type", if patch { "application/merge-patch+json" } else { "application/json" });
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let body = Full::new(body).map_err(|never| match never {}).boxed();
        request.body(body).map_err(|error| bad(error.to_string()))
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason = format!("{reason}: {inner}");
            source = inner.source();
        }
        Error::Unreachable { address: self.address(), reason: advised(reason, self.inner.address.scheme_str()) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl Answer {
    /// The answer, if its status is below 400; else the server's words as an error. A 404 with `data` (a deleted kv v2
    /// version) is an error too: use [`Client::call`] to see it.
    pub fn into_success(self, path: &str) -> Result<Self, Error> {
        if StatusCode::from_u16(self.status).is_ok_and(|status| status.is_client_error() || status.is_server_error()) {
            let errors = serde_json::from_slice::<ErrorBody>(&self.body).unwrap_or_default().errors;
            return Err(Error::Status { status: self.status, path: path.to_owned(), errors });
        }
        Ok(self)
    }
}

fn protocol(path: &str, reason: &str) -> Error {
    Error::Protocol { path: path.to_owned(), reason: reason.to_owned() }
}

/// Percent-encodes what may not stand in a path; `/` stays.
pub fn escape(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'/'
            | b':'
            | b'@'
            | b'+'
            | b'='
            | b',' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Reads a PEM file for [`Config`], naming it in the error.
pub fn read_pem(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Config(format!("{}: {error}", path.display())))
}

mod tls {
    use rustls::{
        ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
        pki_types::{ServerName, UnixTime},
    };

    use super::*;
    use crate::roots::FileRoots;

    pub(super) fn client_config(config: &Config) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Config(error.to_string()))?;
        let builder = if config.tls_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else if let Some(path) = &config.ca_file {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(FileRoots::open(path, provider)?))
        } else {
            builder.with_root_certificates(roots(config)?)
        };
        match &config.identity_pem {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => {
                let chain = certificates(chain, "client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| Error::Config(format!("client key: {error}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Error::Config(format!("client certificate: {error}")))
            }
        }
    }

    fn roots(config: &Config) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        let pem = match &config.ca_pem {
            Some(pem) => pem.clone(),
            None => SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default(),
        };
        for certificate in certificates(&pem, "CA certificate")? {
            // A bundle may hold certificates that this TLS library refuses; they are of no use, but no reason to stop.
            let _ = roots.add(certificate);
        }
        if config.ca_pem.is_some() && roots.is_empty() {
            return Err(Error::Config("CA certificate: no usable certificate in the PEM text".to_owned()));
        }
        Ok(roots)
    }

    const SYSTEM_BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

    fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Config(format!("{what}: {error}")))
    }

    /// For `-tls-skip-verify` only.
    #[derive(Debug)]
    struct AcceptAny(Arc<CryptoProvider>);

    impl ServerCertVerifier for AcceptAny {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_and_keeps_its_slashes() {
        assert_eq!(escape("/secret/data/a b%/ü"), "secret/data/a%20b%25/%C3%BC");
    }

    #[test]
    fn a_bad_address_is_named() {
        let error = Client::new(Config { address: "localhost:8200".to_owned(), ..Config::default() }).unwrap_err();
        assert!(error.to_string().contains("localhost:8200"), "{error}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_told_from_one_that_is_away() {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        });
        let client = Client::new(Config { address, ..Config::default() }).unwrap();
        let error = client.health().await.unwrap_err().to_string();
        assert!(
            error.ends_with("the server speaks HTTP without TLS: is its address http://…? (VAULT_ADDR)"),
            "{error}"
        );
        server.await.unwrap();
        let error = client.health().await.unwrap_err().to_string();
        assert!(!error.contains("speaks HTTP"), "{error}");
    }

    #[test]
    fn errors_carry_the_servers_words() {
        let answer = Answer {
            status: 403,
            content_type: String::new(),
            body: Bytes::from_static(br#"{"errors":["permission denied"]}"#),
        };
        let error = answer.into_success("secret/x").unwrap_err();
        assert_eq!(error.to_string(), "secret/x: status 403: permission denied");
        assert!(!error.is_transient());
    }
}
