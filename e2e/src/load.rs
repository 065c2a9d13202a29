//! Requests through the Service, as other pods send them, while something happens to the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use holdfast_client::Client;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Release,
    server::client_at,
    shell::{kubectl, run},
    wait::eventually,
};

/// Who reads and writes at the same time.
const WORKERS: usize = 6;
/// Between two requests of a worker.
const PAUSE: Duration = Duration::from_millis(20);

/// The Service of a release as a node shows it: each connection goes to one of the ready pods.
#[derive(Debug)]
pub struct Service {
    /// Without a token.
    client: Client,
    forwarding: JoinHandle<()>,
}

/// Workers that read and write until they are stopped.
#[derive(Debug)]
pub struct Load {
    answered: Arc<AtomicU64>,
    stop: CancellationToken,
    workers: JoinSet<Vec<String>>,
}

impl Service {
    /// Makes a node port for the server's Service and leads a local port to it: the certificate is good for 127.0.0.1.
    pub async fn expose(release: &Release) -> Result<Self> {
        let (ns, name) = (release.namespace(), format!("{}-load", release.name));
        kubectl(&format!("delete service -n {ns} {name} --ignore-not-found")).await?;
        let expose = format!("expose service {} -n {ns} --name={name} --type=NodePort", release.name);
        kubectl(&expose).await?;
        let port = "jsonpath={.spec.ports[0].nodePort}";
        let port = run("kubectl", &["get", "service", "-n", ns, &name, "-o", port]).await?;
        let node = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
        let node = run("kubectl", &["get", "node", "-o", node]).await?;
        let target = format!("{}:{}", node.trim(), port.trim());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = client_at(release, listener.local_addr()?.port()).await?;
        let forwarding = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = target.clone();
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        // Either side may end it; the other then sees the end.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        let service = Self { client, forwarding };
        eventually("the node port leads to the server", || async {
            Ok(service.client.seal_status().await.ok().filter(|status| !status.sealed))
        })
        .await?;
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.forwarding.abort();
    }
}

impl Load {
    /// Each worker writes a value of its own to the mount (kv 1) and reads it back.
    pub fn start(service: &Service, who: &Client, mount: &str) -> Self {
        let (answered, stop, mut workers) = (Arc::new(AtomicU64::new(0)), CancellationToken::new(), JoinSet::new());
        for worker in 0..WORKERS {
            let client = match who.token() {
                Some(token) => service.client.with_token(token.duplicate()),
                None => service.client.clone(),
            };
            let path = format!("{mount}/worker-{worker}");
            workers.spawn(work(client, path, answered.clone(), stop.clone()));
        }
        Self { answered, stop, workers }
    }

    /// Ends the load: how many requests were answered well, and what the others said.
    pub async fn stop(mut self) -> Result<(u64, Vec<String>)> {
        self.stop.cancel();
        let mut failed = Vec::new();
        while let Some(worker) = self.workers.join_next().await {
            failed.extend(worker.context("a worker")?);
        }
        Ok((self.answered.load(Ordering::Relaxed), failed))
    }
}

async fn work(client: Client, path: String, answered: Arc<AtomicU64>, stop: CancellationToken) -> Vec<String> {
    let mut failed = Vec::new();
    for number in 0u64.. {
        if stop.is_cancelled() {
            break;
        }
        match round(&client, &path, number).await {
            Ok(()) => answered.fetch_add(2, Ordering::Relaxed),
            Err(error) => {
                failed.push(format!("{path} {number}: {error:#}"));
                0
            }
        };
        tokio::time::sleep(PAUSE).await;
    }
    failed
}

async fn round(client: &Client, path: &str, number: u64) -> Result<()> {
    client.write(path, json!({"number": number})).await.context("write")?;
    let read = client.read(path).await.context("read")?.and_then(|envelope| envelope.data).context("nothing there")?;
    anyhow::ensure!(read.get("number") == Some(&json!(number)), "wrote {number}, read {read:?}");
    Ok(())
}
