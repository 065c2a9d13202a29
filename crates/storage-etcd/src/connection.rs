//! Channels to the endpoints and the auth token.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use holdfast_storage::Error;
use parking_lot::RwLock;
use tokio::time::Instant;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use crate::choice::{Choice, SILENT};
use crate::proto::etcdserverpb as pb;
use crate::{Config, ConnectError, Credentials, DEADLINE, outcome};
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;

/// Largest message taken from etcd. A smaller limit would turn the answer to a write into an error after the fact.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// etcd hangs up on clients that ping more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A read that has no answer by then is sent a second time, to whoever is preferred now.
const ASK_AGAIN: Duration = Duration::from_millis(1_050);
/// HTTP/2 flow control window, in bytes.
const WINDOW: u32 = 4 * 1024 * 1024;

/// All endpoints of one cluster.
pub struct Connection {
    endpoints: Vec<Peer>,
    /// Among them.
    pub choice: Choice,
    began: Instant,
    credentials: Option<Credentials>,
    token: RwLock<Option<MetadataValue<tonic::metadata::Ascii>>>,
    /// With TLS: what we show of ourselves.
    tls: Option<Presents>,
}

enum Presents {
    Certificate,
    Nothing,
}

struct Peer {
    url: String,
    /// Reads and writes.
    calls: Channel,
    /// Watches, so that a burst of events does not hold up an answer.
    watches: Channel,
    /// Milliseconds since the connection was made at which it last answered.
    heard: AtomicU64,
}

/// One endpoint, with the token for it.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    token: Option<MetadataValue<tonic::metadata::Ascii>>,
}

impl Connection {
    /// Makes the channels; nothing is dialled yet.
    pub fn new(mut config: Config) -> Result<Self, ConnectError> {
        if config.endpoints.is_empty() {
            return Err(ConnectError::Config("no endpoint is given".to_owned()));
        }
        let tls = tls(&config)?;
        let endpoints = config.endpoints.iter().map(|url| Peer::new(url, tls.as_ref()));
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            choice: Choice::among(config.endpoints.len()),
            began: Instant::now(),
            credentials: config.credentials.take(),
            token: RwLock::new(None),
            tls: config.ca_pem.is_some().then_some(match config.cert_pem {
                Some(_) => Presents::Certificate,
                None => Presents::Nothing,
            }),
        })
    }

    /// Gets the first token, if there is a user.
    pub async fn authenticate_first(&self) -> Result<(), ConnectError> {
        let Some(credentials) = &self.credentials else { return Ok(()) };
        let mut silent = Vec::new();
        for peer in &self.endpoints {
            match self.authenticate(peer, credentials).await {
                Ok(()) => return Ok(()),
                Err(status) if status.message().starts_with("etcdserver:") => {
                    let reason = outcome::describe(&status);
                    return Err(ConnectError::Refused { user: credentials.username.clone(), reason });
                }
                Err(status) => silent.push(format!("{}: {}", peer.url, outcome::describe(&status))),
            }
        }
        Err(ConnectError::Unreachable(silent))
    }

    /// The version of each endpoint, or why it did not tell.
    pub async fn status_of_all(&self) -> Vec<(String, Result<String, String>)> {
        let ask = self.endpoints.iter().map(|peer| async {
            let client = self.client(&peer.calls);
            let call = ask_status(&client);
            let status = timed(call).await.map(|response| response.into_inner().version);
            (peer.url.clone(), status.map_err(|status| self.explain(&outcome::describe(&status))))
        });
        futures::future::join_all(ask).await
    }

    /// In TLS 1.3 a server refuses a client certificate after the handshake is over for the client, which may then see no more
    /// than a closed connection.
    fn explain(&self, cause: &str) -> String {
        let hung_up = ["alert", "broken pipe", "closed", "reset"].iter().any(|word| cause.contains(word));
        match &self.tls {
            Some(Presents::Certificate) if hung_up => format!("{cause} (etcd may refuse our client certificate)"),
            Some(Presents::Nothing) if hung_up => format!("{cause} (etcd may want a client certificate)"),
            _ => cause.to_owned(),
        }
    }

    /// Asks one endpoint after the other until one answers: a read may be repeated, also while an earlier try is under way.
    pub async fn read<F, R, T>(&self, call: F) -> Result<T, Error>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let ask = || self.try_endpoints(&call, |error| !matches!(error, Error::Unknown(_) | Error::Unreachable(_)));
        let mut tries = FuturesUnordered::from_iter([ask()]);
        let mut left = self.endpoints.len() - 1;
        loop {
            tokio::select! {
                Some(answer) = tries.next() => match answer {
                    Err(Error::Unknown(_) | Error::Unreachable(_)) if !tries.is_empty() => {}
                    answer => return answer,
                },
                () = tokio::time::sleep(ASK_AGAIN), if left > 0 => {
                    tries.push(ask());
                    left -= 1;
                }
            }
        }
    }

    /// One range, in a call of its own.
    pub async fn range(&self, range: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let call = |mut client: Client| {
            let range = range.clone();
            async move { client.kv().range(client.request(range)).await }
        };
        self.read(call).await
    }

    /// As [`Connection::read`], but a write that may have been sent is not repeated.
    pub async fn write<F, R, T>(&self, call: F) -> Result<T, Error>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        self.try_endpoints(&call, |_| true).await
    }

    /// A client for watches at an endpoint.
    pub fn watch_client(&self, at: usize) -> Client {
        self.client(&self.endpoints[at].watches)
    }

    async fn try_endpoints<F, R, T>(&self, call: &F, stop: fn(&Error) -> bool) -> Result<T, Error>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let mut causes = Vec::new();
        for _ in 0..self.endpoints.len() {
            let at = self.choice.preferred();
            let peer = &self.endpoints[at];
            let mut answer = self.attended(at, call(self.client(&peer.calls))).await;
            if answer.as_ref().is_err_and(outcome::needs_new_token)
                && let Some(credentials) = &self.credentials
                && self.authenticate(peer, credentials).await.is_ok()
            {
                answer = self.attended(at, call(self.client(&peer.calls))).await;
            }
            let status = match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            let error = outcome::sort(&status);
            let said_by_etcd = status.message().starts_with("etcdserver:");
            if said_by_etcd && !matches!(error, Error::Unknown(_)) {
                return Err(error);
            }
            self.choice.leave(at);
            if !outcome::never_sent(&status) && stop(&error) {
                return Err(error);
            }
            causes.push((format!("{}: {}", peer.url, outcome::describe(&status)), error));
        }
        let all_certain = causes.iter().all(|(_, error)| matches!(error, Error::Unreachable(_)));
        let text = causes.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("; ");
        Err(if all_certain { Error::Unreachable(text) } else { Error::Unknown(text) })
    }

    /// A call at an endpoint, which may turn out to be silent meanwhile.
    async fn attended<T>(&self, at: usize, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let sent = self.elapsed();
        let call = timed(call);
        tokio::pin!(call);
        let answer = match tokio::time::timeout(SILENT, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                if self.endpoints[at].heard.load(Ordering::Relaxed) < sent {
                    self.choice.leave_silent(at);
                }
                call.await
            }
        };
        if answer.is_ok() {
            self.endpoints[at].heard.fetch_max(self.elapsed(), Ordering::Relaxed);
        }
        answer
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn authenticate(&self, peer: &Peer, credentials: &Credentials) -> Result<(), Status> {
        let request = pb::AuthenticateRequest {
            name: credentials.username.clone(),
            password: credentials.password.expose().to_owned(),
        };
        let mut client = AuthClient::new(peer.calls.clone());
        let token = timed(client.authenticate(request)).await?.into_inner().token;
        let token = token.parse().map_err(|_| Status::internal("etcd's token is not a header value"))?;
        *self.token.write() = Some(token);
        Ok(())
    }

    fn client(&self, channel: &Channel) -> Client {
        Client { channel: channel.clone(), token: self.token.read().clone() }
    }
}

impl Client {
    /// Reads and writes.
    pub fn kv(&mut self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Watches.
    pub fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// A request with the token in it.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

impl Peer {
    fn new(url: &str, tls: Option<&ClientTlsConfig>) -> Result<Self, ConnectError> {
        let wrong = |reason: String| ConnectError::Config(format!("endpoint {url}: {reason}"));
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| wrong(error.to_string()))?;
        match (endpoint.uri().scheme_str(), tls) {
            (Some("https"), Some(tls)) => {
                endpoint = endpoint.tls_config(tls.clone()).map_err(|error| wrong(causes(&error)))?;
            }
            (Some("https"), None) => return Err(wrong("https needs the authority of etcd's certificate".to_owned())),
            (Some("http"), _) => {}
            _ => return Err(wrong("must start with https:// or http://".to_owned())),
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (calls, watches) = (endpoint.connect_lazy(), endpoint.connect_lazy());
        Ok(Self { url: url.to_owned(), calls, watches, heard: AtomicU64::new(0) })
    }
}

fn tls(config: &Config) -> Result<Option<ClientTlsConfig>, ConnectError> {
    let Some(ca) = &config.ca_pem else { return Ok(None) };
    if !ca.contains("BEGIN CERTIFICATE") {
        return Err(ConnectError::Config("the authority file holds no certificate".to_owned()));
    }
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some(name) = &config.server_name {
        tls = tls.domain_name(name);
    }
    tls = match (&config.cert_pem, &config.key_pem) {
        (Some(cert), Some(key)) => tls.identity(Identity::from_pem(cert, key.expose())),
        (None, None) => tls,
        _ => {
            return Err(ConnectError::Config(
                "a client certificate needs its key, and a key its certificate".to_owned(),
            ));
        }
    };
    Ok(Some(tls))
}

async fn timed<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn ask_status(client: &Client) -> Result<Response<pb::StatusResponse>, Status> {
    MaintenanceClient::new(client.channel.clone()).status(client.request(pb::StatusRequest {})).await
}
