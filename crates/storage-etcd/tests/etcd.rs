//! Starts etcd and ends it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_storage_etcd::{Config, EtcdStorage};

/// A running etcd; killed when dropped.
pub struct Etcd {
    process: Child,
    command: Command,
    pub endpoint: String,
    /// Gone with the process.
    folder: tempfile::TempDir,
}

impl Etcd {
    /// One member without TLS, ready.
    pub async fn start() -> Self {
        let etcd = Self::spawn("http", &[]);
        etcd.wait_until_ready(|| Config { endpoints: vec![etcd.endpoint.clone()], ..Config::default() }).await;
        etcd
    }

    /// One member, perhaps not ready yet.
    pub fn spawn(scheme: &str, more: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (client, peer) = (free_port(), free_port());
        let endpoint = format!("{scheme}://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new(binary());
        command
            .args(["--data-dir".as_ref(), folder.path().join("data").as_os_str()])
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().unwrap();
        Self { process, command, endpoint, folder }
    }

    /// Killed hard, and started again on the same data.
    #[allow(dead_code, reason = "this file is shared by the tests of two crates")]
    pub fn restart(&mut self) {
        self.restart_after(|_| {});
    }

    /// Killed hard, and started again after something was done in its folder, where `data` is.
    #[allow(dead_code, reason = "this file is shared by the tests of two crates")]
    pub fn restart_after(&mut self, work: impl FnOnce(&std::path::Path)) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        work(self.folder.path());
        self.process = self.command.spawn().unwrap();
    }

    /// `-STOP`, `-CONT`.
    #[allow(dead_code, reason = "this file is shared by the tests of two crates")]
    pub fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub async fn wait_until_ready(&self, config: impl Fn() -> Config) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match EtcdStorage::connect(config()).await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "etcd does not start: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[allow(dead_code, reason = "this file is shared by the tests of two crates")]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `HOLDFAST_ETCD`, then the path, then the cache folder of the end-to-end tests.
fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("HOLDFAST_ETCD") {
        return given.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("etcd"))
        .chain(cache.map(|cache| cache.join("holdfast-e2e/bin/etcd")))
        .find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("no etcd found: set HOLDFAST_ETCD, or run `apt-get install etcd-server`"))
}
