//! The server under test, reached through a port-forward, as an administrator at a laptop would.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_client::{Client, Config};
use holdfast_secret::SecretString;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{Release, shell::run};

/// A port-forward to the server and a client on it.
#[derive(Debug)]
pub struct Server {
    /// Without a token.
    pub client: Client,
    _forward: Child,
}

impl Server {
    /// Opens the port-forward.
    pub async fn connect(release: &Release) -> Result<Self> {
        let (ns, service) = (release.namespace(), format!("service/{}", release.name));
        let mut forward = Command::new("kubectl")
            .args(["port-forward", "-n", ns, &service, ":8200"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(forward.stdout.take().context("no output of kubectl port-forward")?).lines();
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await??;
        let line = line.context("kubectl port-forward ended")?;
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let port = port.with_context(|| format!("kubectl port-forward said {line:?}"))?;
        // kubectl writes a line for each connection and ends when nobody reads it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let client = client_at(release, port.parse()?).await?;
        Ok(Self { client, _forward: forward })
    }

    /// Logs in as a service account, with a token that the API server gives to whoever may ask for it.
    pub async fn login(&self, namespace: &str, account: &str, role: &str) -> Result<Client> {
        let jwt = run("kubectl", &["create", "token", "-n", namespace, account, "--audience", "holdfast"]).await?;
        let (client, _) = self.client.login_kubernetes("kubernetes", role, &SecretString::new(jwt.trim())).await?;
        Ok(client)
    }
}

/// A client, without a token, to a local port that leads to the server.
pub(crate) async fn client_at(release: &Release, port: u16) -> Result<Client> {
    let secret = format!("{}-tls", release.name);
    let path = r"jsonpath={.data.ca\.crt}";
    let ca = run("kubectl", &["get", "secret", "-n", release.namespace(), &secret, "-o", path]).await?;
    Ok(Client::new(Config {
        address: format!("https://127.0.0.1:{port}"),
        ca_pem: Some(STANDARD.decode(ca.trim())?),
        timeout: Some(Duration::from_secs(30)),
        ..Config::default()
    })?)
}
