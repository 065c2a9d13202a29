//! `holdfast agent` with configuration files as people have them for Vault's agent, against the real server.

mod methods;
mod program;
mod proxy;
mod templates;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use holdfast_client::Client;
use holdfast_secret::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{SOON, Server, folder, free_port};

/// A dev server, and a folder for an agent.
pub struct Ground {
    pub server: Server,
    pub folder: TempDir,
    /// With the root token.
    pub client: Client,
}

impl Ground {
    pub async fn new() -> Self {
        let (folder, port) = (folder(), free_port());
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        let mut server = Server::spawn(folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
        let client = server.client().with_token(SecretString::new("root"));
        server.wait_until_answering(&client).await;
        // It answers before it has mounted the store and made its token.
        let deadline = Instant::now() + SOON;
        while client.read("secret/config").await.ok().flatten().is_none() {
            assert!(Instant::now() < deadline, "no dev mount:\n{}", server.errors());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ground = Self { server, folder, client };
        ground.write("root-token", "root");
        ground
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        let envelope = self.client.write(path, body).await.unwrap();
        envelope.and_then(|envelope| envelope.data).map_or(Value::Null, Value::Object)
    }

    pub async fn secret(&self, name: &str, data: Value) {
        self.put(&format!("secret/data/{name}"), json!({ "data": data })).await;
    }

    /// An approle with a policy for reading and hearing of all of `secret/`; its ids are in files.
    pub async fn approle(&self) {
        let policy = r#"
            path "secret/*" { capabilities = ["read", "list", "subscribe"] subscribe_event_types = ["*"] }
            path "sys/events/subscribe/kv*" { capabilities = ["read"] }"#;
        self.put("sys/policies/acl/app", json!({ "policy": policy })).await;
        self.put("sys/auth/approle", json!({ "type": "approle" })).await;
        self.put("auth/approle/role/app", json!({ "token_policies": "app", "token_ttl": "1h" })).await;
        let id = self.client.read("auth/approle/role/app/role-id").await.unwrap().unwrap().data.unwrap();
        self.write("role-id", id["role_id"].as_str().unwrap());
        let made = self.put("auth/approle/role/app/secret-id", json!({})).await;
        self.write("secret-id", made["secret_id"].as_str().unwrap());
    }

    /// Starts an agent. `configuration` is everything but the server; `{folder}` in it is the folder.
    pub fn agent(&self, configuration: &str) -> Agent {
        let server = format!("vault {{ address = \"{}\" }}\n", self.server.address());
        let text = (server + configuration).replace("{folder}", &self.folder.path().display().to_string());
        self.write("agent.hcl", &text);
        let log = |name: &str| File::options().create(true).append(true).open(self.path(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["agent", &format!("-config={}", self.path("agent.hcl").display())])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log("agent-out"))
            .stderr(log("agent-err"))
            .spawn()
            .unwrap();
        Agent { child, log: self.path("agent-err") }
    }

    /// The root token by `token_file`.
    pub fn as_root(&self) -> String {
        format!(
            "auto_auth {{ method {{ type = \"token_file\" config = {{ token_file_path = \"{}\" }} }} }}\n",
            self.path("root-token").display()
        )
    }

    /// Waits for a file to hold this.
    pub async fn holds(&self, agent: &Agent, name: &str, text: &str) {
        until(|| self.text(name) == text, || format!("{name}: {:?}, not {text:?}\n{}", self.text(name), agent.log()))
            .await;
    }
}

/// The approle of [`Ground::approle`].
pub const APPROLE: &str = r#"
auto_auth {
  method "approle" {
    config = { role_id_file_path = "{folder}/role-id" secret_id_file_path = "{folder}/secret-id" }
  }
  sink "file" { config = { path = "{folder}/token" mode = 0600 } }
}
"#;

/// A running agent; killed when dropped.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn until(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{}", what());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
