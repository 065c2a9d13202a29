//! Starts servers and what they need, and stops them when the test ends.

pub mod certificates;
pub mod core;
pub mod etcd;
pub mod postgres;

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use holdfast_api_types::{InitRequest, InitResponse};
use holdfast_client::{Call, Client, Config};
use holdfast_secret::SecretString;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// For anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);

/// Folder, of a server's own one, whose files arm failpoints.
pub const FAILPOINTS: &str = "failpoints";

/// A running `holdfast server`, with its output in files of its folder.
pub struct Server {
    child: Child,
    folder: PathBuf,
    pub port: u16,
    pub scheme: &'static str,
}

impl Server {
    /// Starts with these arguments and does not wait.
    pub fn spawn(folder: &Path, port: u16, arguments: &[&str]) -> Self {
        let log = |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .arg("server")
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("HOLDFAST_FAILPOINTS", folder.join(FAILPOINTS))
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .unwrap();
        Self { child, folder: folder.to_owned(), port, scheme: "http" }
    }

    /// Writes the configuration, starts, and waits until it answers.
    pub async fn start(folder: &Path, configuration: &str) -> Self {
        let port = free_port();
        Self::start_at(folder, port, configuration).await
    }

    /// The same on this port. `configuration` is everything but the listener.
    pub async fn start_at(folder: &Path, port: u16, configuration: &str) -> Self {
        let listener = format!("listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n");
        let file = folder.join("config.hcl");
        std::fs::write(&file, listener + configuration).unwrap();
        let mut server = Self::spawn(folder, port, &[&format!("-config={}", file.display())]);
        server.wait_until_answering(&server.client()).await;
        server
    }

    pub async fn wait_until_answering(&mut self, client: &Client) {
        let deadline = Instant::now() + SOON;
        while client.seal_status().await.is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.errors());
            }
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.errors());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// A client without token, over plain HTTP.
    pub fn client(&self) -> Client {
        client(&self.address())
    }

    /// Initialises with this many shares and unseals with as many as are needed; the client carries the root token.
    pub async fn initialize(&self, shares: u64, threshold: u64) -> (Client, InitResponse) {
        initialize(&self.client(), shares, threshold).await
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join("out")).unwrap_or_default()
    }

    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.join("err")).unwrap_or_default()
    }

    /// Memory of the process that is in RAM.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// So many files and connections it may have open from now on.
    pub fn limit_files(&self, most: usize) {
        let (pid, limit) = (self.child.id().to_string(), format!("--nofile={most}:{most}"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// SIGTERM, and the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.wait()
    }

    /// The same for a server that is still to be named.
    pub fn stop_in_place(&mut self) {
        self.signal("-TERM");
        assert!(self.wait().success());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has the process ended by itself?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end:\n{}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for it; how long that took.
pub async fn until(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < within, "it does not come true that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

pub fn client(address: &str) -> Client {
    Client::new(Config { address: address.to_owned(), ..Config::default() }).unwrap()
}

pub async fn initialize(client: &Client, shares: u64, threshold: u64) -> (Client, InitResponse) {
    let request =
        InitRequest { secret_shares: Some(shares), secret_threshold: Some(threshold), ..InitRequest::default() };
    let made = client.init(&request).await.unwrap();
    let needed = usize::try_from(threshold).unwrap();
    let status = unseal(client, &made.keys_base64[..needed]).await;
    assert_eq!(status["sealed"], false, "{status}");
    (client.with_token(SecretString::new(made.root_token.as_str())), made)
}

/// Gives these shares; the last answer.
pub async fn unseal(client: &Client, shares: &[String]) -> Value {
    let mut last = Value::Null;
    for share in shares {
        last = client.bare(put("sys/unseal", json!({ "key": share }))).await.unwrap();
    }
    last
}

pub fn put(path: &str, body: Value) -> Call {
    Call { method: Method::PUT, path: path.to_owned(), body: Some(body), ..Call::default() }
}

pub fn get(path: &str) -> Call {
    Call { path: path.to_owned(), ..Call::default() }
}

/// `data` of a read, or null.
pub async fn data(client: &Client, path: &str) -> Value {
    let envelope = client.read(path).await.unwrap();
    envelope.and_then(|envelope| envelope.data).map_or(Value::Null, Value::Object)
}

/// An archive as it is sent.
pub fn pieces(archive: &[u8]) -> impl Iterator<Item = std::io::Result<bytes::Bytes>> + Send + Sync + use<> {
    archive.chunks(64 << 10).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect::<Vec<_>>().into_iter()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// Looks for a program: in the folder that a variable names, else on the PATH, else in these folders.
pub fn find_tool(variable: &str, name: &str, folders: &[PathBuf], install: &str) -> PathBuf {
    if let Some(given) = std::env::var_os(variable) {
        let given = PathBuf::from(given);
        return if given.is_dir() { given.join(name) } else { given };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(folders.iter().cloned()).map(|folder| folder.join(name));
    let found = found.into_iter().find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is needed for this test; install it with: {install}; or set {variable}"))
}

/// Where tools of the tests are kept.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    home.unwrap_or_default().join("holdfast-e2e")
}
