//! The Python client hvac against the dev server and against a TLS server with a file store.

use std::{path::PathBuf, process::Command};

use crate::fixture::{
    Server, cache,
    certificates::Authority,
    folder, free_port,
    postgres::{ADMIN, Postgres},
};

#[tokio::test]
async fn hvac_works_against_the_dev_server() {
    let (folder, port, postgres) = (folder(), free_port(), Postgres::start().await);
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let mut server = Server::spawn(folder.path(), port, &["-dev", &listen, "-dev-root-token-id=root"]);
    let client = server.client();
    server.wait_until_answering(&client).await;
    let database = format!("{}:{}@127.0.0.1:{}", ADMIN.0, ADMIN.1, postgres.port);
    run_hvac(
        &server,
        &[("HVAC_ADDR", server.address()), ("HVAC_TOKEN", "root".to_owned()), ("HVAC_DATABASE", database)],
    )
    .await;
}

#[tokio::test]
async fn hvac_works_against_tls_and_a_file_store() {
    let (folder, port, authority) = (folder(), free_port(), Authority::new());
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
    let text = |path: PathBuf| path.display().to_string();
    run_hvac(
        &server,
        &[
            ("HVAC_ADDR", server.address()),
            ("HVAC_CA", text(ca)),
            ("HVAC_CERT", text(client_chain)),
            ("HVAC_KEY", text(client_key)),
        ],
    )
    .await;
}

async fn run_hvac(server: &Server, variables: &[(&'static str, String)]) {
    let python = cache().join("venv/bin/python");
    assert!(
        python.is_file(),
        "hvac is needed for this test; install it with: python3 -m venv {0} && {0}/bin/pip install hvac",
        cache().join("venv").display()
    );
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/hvac_test.py");
    let variables: Vec<_> = variables.to_vec();
    let run = tokio::task::spawn_blocking(move || Command::new(python).arg(script).envs(variables).output().unwrap());
    let output = run.await.unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\nserver:\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        server.errors()
    );
}
