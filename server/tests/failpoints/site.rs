//! One store, the server on it, and what it is looked at with after a crash.

use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

use holdfast_api_types::InitRequest;
use holdfast_client::Client;
use holdfast_secret::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{FAILPOINTS, SOON, Server, data, etcd::Etcd, folder, free_port, unseal};

/// How the keys of a site are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// By people: 3 shares, 2 are needed.
    Shares,
    /// By a file: the server opens itself.
    File,
}

/// A store below a prefix of its own, and a server on it that dies and starts again.
pub struct Site {
    pub folder: TempDir,
    pub configuration: String,
    pub keys: Keys,
    pub port: u16,
    pub server: Option<Server>,
    pub root: Option<SecretString>,
    pub shares: Vec<String>,
}

impl Site {
    /// A running server that is not initialised.
    pub async fn new(etcd: &Etcd, name: &str, keys: Keys) -> Self {
        Self::with(etcd, name, keys, "").await
    }

    /// The same with more configuration.
    pub async fn with(etcd: &Etcd, name: &str, keys: Keys, more: &str) -> Self {
        let folder = folder();
        std::fs::create_dir(folder.path().join(FAILPOINTS)).unwrap();
        std::fs::write(folder.path().join("seal.key"), [7; 32]).unwrap();
        let mut configuration = etcd.stanza_below(&format!("{name}/"), etcd.folder(), "client");
        if keys == Keys::File {
            let key = folder.path().join("seal.key");
            configuration += &format!(
                "seal \"static\" {{\n current_key_id = \"k1\"\n current_key = \"file://{}\"\n}}\n",
                key.display()
            );
        }
        configuration += more;
        let port = free_port();
        Self { folder, configuration, keys, port, server: None, root: None, shares: Vec::new() }
    }

    /// Initialised, open, with a secret of each kind in a kv mount.
    pub async fn furnished(etcd: &Etcd, name: &str, keys: Keys) -> Self {
        let mut site = Self::new(etcd, name, keys).await;
        site.start().await;
        site.initialize().await;
        site.furnish().await;
        site
    }

    pub async fn initialize(&mut self) {
        let made = self.bare_client().init(&self.wish()).await.unwrap();
        self.root = Some(SecretString::new(made.root_token.as_str()));
        self.shares = made.keys_base64;
        self.open().await;
    }

    /// What an initialisation of this site asks for.
    pub fn wish(&self) -> InitRequest {
        match self.keys {
            Keys::Shares => InitRequest { secret_shares: Some(3), secret_threshold: Some(2), ..InitRequest::default() },
            Keys::File => InitRequest::default(),
        }
    }

    pub async fn furnish(&self) {
        let client = self.client();
        client.write("sys/mounts/kept", json!({"type": "kv", "options": {"version": "2"}})).await.unwrap();
        client.write("kept/data/secret", json!({"data": {"word": "kept"}})).await.unwrap();
    }

    /// Starts the server and waits until it answers, sealed or not.
    pub async fn start(&mut self) {
        self.server = Some(Server::start_at(self.folder.path(), self.port, &self.configuration).await);
    }

    /// Starts a server that will die by itself, and waits for that.
    pub async fn start_and_die(&mut self, point: &str) {
        let listener =
            format!("listener \"tcp\" {{\n address = \"127.0.0.1:{}\"\n tls_disable = true\n}}\n", self.port);
        let file = self.folder.path().join("config.hcl");
        std::fs::write(&file, listener + &self.configuration).unwrap();
        let argument = format!("-config={}", file.display());
        self.server = Some(Server::spawn(self.folder.path(), self.port, &[&argument]));
        self.died_at(point).await;
    }

    /// Waits until the server is open, with shares where people keep the keys.
    pub async fn open(&mut self) {
        let client = self.bare_client();
        if self.keys == Keys::Shares && !self.shares.is_empty() {
            unseal(&client, &self.shares[..2]).await;
        }
        self.until("it is unsealed", async || client.health().await.is_ok_and(|now| now.initialized && !now.sealed))
            .await;
    }

    /// A client without token.
    pub fn bare_client(&self) -> Client {
        crate::fixture::client(&format!("http://127.0.0.1:{}", self.port))
    }

    /// A client of root.
    pub fn client(&self) -> Client {
        self.bare_client().with_token(self.root.as_ref().unwrap().duplicate())
    }

    fn point(&self, name: &str) -> PathBuf {
        self.folder.path().join(FAILPOINTS).join(name)
    }

    /// Arms a failpoint.
    pub fn arm(&self, point: &str, action: &str) {
        let hit = self.point(&format!("{point}.hit"));
        if hit.exists() {
            std::fs::remove_file(hit).unwrap();
        }
        std::fs::write(self.point(point), action).unwrap();
    }

    pub fn disarm(&self, point: &str) {
        std::fs::remove_file(self.point(point)).unwrap();
    }

    /// Waits until somebody came by an armed failpoint.
    pub async fn hit(&self, point: &str) {
        let hit = self.point(&format!("{point}.hit"));
        self.until(&format!("{point} is passed"), async || hit.exists()).await;
    }

    /// Waits for the end of the server, which must be at this point; disarms it.
    pub async fn died_at(&mut self, point: &str) {
        let deadline = Instant::now() + SOON * 2;
        let mut server = self.server.take().unwrap();
        while !server.has_ended() {
            assert!(Instant::now() < deadline, "it does not die at {point}:\n{}", server.errors());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(self.point(&format!("{point}.hit")).exists(), "it died before {point}:\n{}", server.errors());
        self.disarm(point);
    }

    /// Does the work with a server that dies at a point of it, starts again, and looks whether all is in order. Answers what
    /// the work gave before the end, if it got an answer.
    pub async fn crash<T: Send + 'static>(
        &mut self,
        point: &str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.arm(point, "abort");
        let work = tokio::spawn(work);
        self.died_at(point).await;
        work.abort();
        let answer = work.await.ok();
        self.start().await;
        self.open().await;
        self.check(point).await;
        answer
    }

    /// All that must hold after each crash.
    pub async fn check(&self, after: &str) {
        let client = self.client();
        let found = data(&client, "sys/fsck").await;
        assert_eq!(found["clean"], true, "after {after}: {found}");
        if client.read("sys/mounts/kept").await.is_ok() {
            assert_eq!(data(&client, "kept/data/secret").await["data"]["word"], "kept", "after {after}");
        }
        // And it takes writes.
        client.write("cubbyhole/after", json!({ "point": after })).await.unwrap();
        assert_eq!(data(&client, "cubbyhole/after").await["point"], after);
    }

    /// Waits for something that must come true.
    pub async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + SOON * 4;
        while !is_so().await {
            let log = std::fs::read_to_string(self.folder.path().join("err")).unwrap_or_default();
            assert!(Instant::now() < deadline, "it does not come true that {what}:\n{log}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// A write whose answer does not matter: the server dies of it.
    pub fn write(&self, path: &str, body: Value) -> impl Future<Output = bool> + Send + use<> {
        let (client, path) = (self.client(), path.to_owned());
        async move { client.write(&path, body).await.is_ok() }
    }

    pub fn delete(&self, path: &str) -> impl Future<Output = bool> + Send + use<> {
        let (client, path) = (self.client(), path.to_owned());
        async move { client.delete(&path).await.is_ok() }
    }
}
