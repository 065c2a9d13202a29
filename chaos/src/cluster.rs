//! Three etcd members, three replicas, and a link between each two that speak with each other.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use holdfast_client::{Call, Client, Config};
use holdfast_secret::SecretString;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    etcd::{Disk, Etcd, MEMBERS},
    link::Link,
    plan::REPLICAS,
    process::{Id, Process, free_port},
};

/// For a start, a restart, and to recover from the last fault.
const PATIENCE: Duration = Duration::from_secs(120);
/// For one request of a client under faults.
const REQUEST: Duration = Duration::from_secs(4);
/// For one of a client with time.
const TIME: Duration = Duration::from_secs(60);

/// How replicas read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// They ask the store before each read.
    Barrier,
    /// From memory.
    Cached,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's program.
    pub holdfast: PathBuf,
    /// etcd's program.
    pub etcd: PathBuf,
    /// How replicas read.
    pub mode: Mode,
    /// etcd's election timeout.
    pub election: Duration,
    /// What etcd does with its disks.
    pub disk: Disk,
    /// Variables of the replicas' environment: mutations are switched on so.
    pub variables: Vec<(String, String)>,
}

/// Everything that runs; it ends with this.
pub struct Cluster {
    /// The store.
    pub etcd: Etcd,
    /// The replicas.
    pub replicas: Vec<Replica>,
    root: SecretString,
    folder: TempDir,
}

/// One replica with the links around it.
pub struct Replica {
    /// The program.
    pub process: Process,
    /// From its clients.
    pub clients: Link,
    /// To each member of the store.
    pub store: Vec<Link>,
    /// From the other replicas, which are told apart.
    pub peers: Link,
    port: u16,
}

impl Cluster {
    /// Starts everything, initialises it, and waits until all replicas serve.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("holdfast-chaos-")?;
        std::fs::write(folder.path().join("seal.key"), [7; 32])?;
        let etcd = Etcd::start(&settings.etcd, folder.path(), settings.election, settings.disk).await?;
        let ids: Vec<Id> = (0..REPLICAS).map(|_| Id::default()).collect();
        let mut replicas = Vec::new();
        for index in 0..REPLICAS {
            replicas.push(Replica::make(settings, folder.path(), index, &etcd.ports(), &ids).await?);
        }
        let mut cluster = Self { etcd, replicas, root: SecretString::new(""), folder };
        cluster.replicas[0].process.start()?;
        cluster.root = cluster.initialize().await?;
        for replica in &mut cluster.replicas {
            replica.process.start()?;
        }
        cluster.wait_until_serving().await?;
        Ok(cluster)
    }

    /// Where logs and histories are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder where it is when this ends.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// A client of a replica that may do everything, through the replica's link.
    pub fn client(&self, replica: usize) -> anyhow::Result<Client> {
        client(self.replicas[replica].clients.port(), REQUEST, &self.root)
    }

    /// The same without the link, and with time.
    pub fn patient(&self, replica: usize) -> anyhow::Result<Client> {
        client(self.replicas[replica].port, TIME, &self.root)
    }

    /// The same with the link.
    pub fn patient_by_link(&self, replica: usize) -> anyhow::Result<Client> {
        client(self.replicas[replica].clients.port(), TIME, &self.root)
    }

    /// Waits until each replica reads and writes.
    pub async fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for index in 0..REPLICAS {
            let client = self.patient(index)?;
            loop {
                let ready = Call { path: "sys/health".into(), query: "requirestore=true".into(), ..Call::default() };
                let answer = client.call(ready).await;
                // Readiness may be that of a moment ago; a look-up is of now.
                if answer.is_ok_and(|answer| answer.status == 200)
                    && client.read("auth/token/lookup-self").await.is_ok()
                {
                    break;
                }
                let replica = &mut self.replicas[index];
                ensure!(replica.process.is_running(), "replica {index} ended:\n{}", tail(&replica.process.said()));
                ensure!(
                    Instant::now() < deadline,
                    "replica {index} does not serve:\n{}",
                    tail(&replica.process.said())
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Reads and decrypts everything that is stored; what is not as it should be.
    pub async fn fsck(&self) -> anyhow::Result<Value> {
        let answer = self.patient(0)?.read("sys/fsck").await?;
        Ok(Value::Object(answer.and_then(|answer| answer.data).context("fsck says nothing")?))
    }

    async fn initialize(&mut self) -> anyhow::Result<SecretString> {
        let client = client(self.replicas[0].port, TIME, &SecretString::new("none"))?.without_token();
        let deadline = Instant::now() + PATIENCE;
        while client.seal_status().await.is_err() {
            let replica = &mut self.replicas[0];
            if !replica.process.is_running() || Instant::now() > deadline {
                bail!("the first replica does not start:\n{}", tail(&replica.process.said()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let body = json!({"recovery_shares": 1, "recovery_threshold": 1});
        let call = Call { method: Method::PUT, path: "sys/init".into(), body: Some(body), ..Call::default() };
        let made: Value = client.bare(call).await?;
        Ok(SecretString::new(made["root_token"].as_str().context("no root token")?))
    }
}

impl Replica {
    async fn make(
        settings: &Settings,
        folder: &Path,
        index: usize,
        store_ports: &[u16],
        ids: &[Id],
    ) -> anyhow::Result<Self> {
        let (port, peer_port) = (free_port()?, free_port()?);
        let mut store = Vec::with_capacity(MEMBERS);
        for member in store_ports {
            store.push(Link::to(*member).await?);
        }
        let (clients, peers) = (Link::to(port).await?, Link::between(ids.to_vec(), peer_port).await?);
        let endpoints: Vec<String> = store.iter().map(|link| format!("\"http://127.0.0.1:{}\"", link.port())).collect();
        let mode = match settings.mode {
            Mode::Barrier => "barrier",
            Mode::Cached => "cached",
        };
        let configuration = format!(
            "listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{peer_port}\"\n \
             tls_disable = true\n}}\ncluster_addr = \"https://127.0.0.1:{}\"\nread_mode = \"{mode}\"\n\
             user_lockout \"all\" {{\n disable_lockout = true\n}}\n\
             storage \"etcd\" {{\n endpoints = [{}]\n prefix = \"holdfast/\"\n}}\n\
             seal \"static\" {{\n current_key_id = \"k1\"\n current_key = \"file://{}\"\n}}\n",
            peers.port(),
            endpoints.join(", "),
            folder.join("seal.key").display(),
        );
        let file = folder.join(format!("replica-{index}.hcl"));
        std::fs::write(&file, configuration)?;
        let arguments = vec!["server".to_owned(), format!("-config={}", file.display())];
        let log = folder.join(format!("replica-{index}.log"));
        let mut process = Process::new(&settings.holdfast, arguments, log).with_id_in(ids[index].clone());
        for (name, value) in &settings.variables {
            process = process.with_variable(name, value);
        }
        Ok(Self { process, clients, store, peers, port })
    }
}

fn client(port: u16, timeout: Duration, token: &SecretString) -> anyhow::Result<Client> {
    let config = Config { address: format!("http://127.0.0.1:{port}"), timeout: Some(timeout), ..Config::default() };
    Ok(Client::new(config)?.with_token(token.duplicate()))
}

/// The last lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
