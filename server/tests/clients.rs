//! Programs on published clients of the Vault API, as their users write them, against the built server over TLS.
//!
//! The programs are in `e2e/clients`; `e2e/clients/setup.sh` builds and installs them. Each prints a line for each call
//! that was answered, and fails at the first surprise.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::fixture::{
    Server, cache,
    certificates::Authority,
    folder, free_port,
    postgres::{ADMIN, Postgres},
};

/// Calls that each program makes at least.
const CALLS: usize = 60;

/// A server over TLS with a file store that is not initialised, and the variables that lead a client there.
struct Ground {
    server: Server,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Ground {
    async fn new() -> Self {
        let (folder, port, authority) = (folder(), free_port(), Authority::new());
        let text = |path: PathBuf| path.display().to_string();
        let (chain, key) = authority.issue().write(folder.path(), "tls");
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, authority.pem()).unwrap();
        // hvac's own tests present a certificate of anyone's on every connection.
        let (client_chain, client_key) = Authority::new().issue().write(folder.path(), "client");
        let file = folder.path().join("config.json");
        let configuration = serde_json::json!({
            "backend": {"file": {"path": folder.path().join("data")}}, "disable_mlock": true,
            "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "tls_cert_file": chain, "tls_key_file": key}},
            "default_lease_ttl": "768h", "max_lease_ttl": "768h",
        });
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut server = Server::spawn(folder.path(), port, &[&format!("-config={}", file.display())]);
        server.scheme = "https";
        let client = holdfast_client::Client::new(holdfast_client::Config {
            address: server.address(),
            ca_pem: Some(authority.pem().into_bytes()),
            ..Default::default()
        });
        server.wait_until_answering(&client.unwrap()).await;
        let variables = vec![
            ("CLIENT_ADDR", server.address()),
            ("CLIENT_CA", text(ca)),
            ("CLIENT_CERT", text(client_chain)),
            ("CLIENT_KEY", text(client_key)),
            ("CLIENT_AUDIT", text(folder.path().join("audit.log"))),
        ];
        Self { server, folder, variables }
    }

    /// Runs the program to its end. It must succeed, with enough calls.
    async fn run(&self, mut program: Command) {
        program.envs(self.variables.iter().cloned()).current_dir(self.folder.path());
        run(&self.server, program).await;
    }
}

pub fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../e2e/clients").join(path)
}

fn installed(path: &str) -> PathBuf {
    let found = cache().join(path);
    assert!(found.exists(), "{} is needed for this test; run e2e/clients/setup.sh", found.display());
    found
}

pub fn python(script: &Path) -> Command {
    let mut python = Command::new(installed("venv/bin/python"));
    python.arg(script);
    python
}

async fn run(server: &Server, mut program: Command) {
    let run = tokio::task::spawn_blocking(move || program.output().unwrap());
    let output = run.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\nserver:\n{}", server.errors());
    let calls = out.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(calls >= CALLS, "{calls} calls:\n{out}");
}

#[tokio::test]
async fn hvac_works_against_the_dev_server() {
    let (folder, port, postgres) = (folder(), free_port(), Postgres::start().await);
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    let database = format!("{}:{}@127.0.0.1:{}", ADMIN.0, ADMIN.1, postgres.port);
    let mut program = python(&source("hvac/hvac_test.py"));
    program.env("CLIENT_ADDR", server.address()).env("CLIENT_TOKEN", "root").env("CLIENT_DATABASE", database);
    run(&server, program).await;
}

#[tokio::test]
async fn hvac_works_over_tls() {
    Ground::new().await.run(python(&source("hvac/hvac_test.py"))).await;
}

#[tokio::test]
async fn node_vault_works_over_tls() {
    let modules = installed("clients/node-vault/node_modules");
    let mut node = Command::new("node");
    node.arg(source("node-vault/main.js")).env("NODE_PATH", modules);
    Ground::new().await.run(node).await;
}

#[tokio::test]
async fn the_go_client_works_over_tls() {
    Ground::new().await.run(Command::new(installed("clients/go-client"))).await;
}

#[tokio::test]
async fn vaultrs_works_over_tls() {
    Ground::new().await.run(Command::new(installed("clients/vaultrs-client"))).await;
}
