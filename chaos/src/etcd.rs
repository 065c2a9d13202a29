//! Three real etcd members, and what a foreign client does to them through etcd's JSON gateway.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::process::{Process, free_port};

/// Members of the store.
pub const MEMBERS: usize = 3;
/// For anything that a foreign client asks.
const PATIENCE: Duration = Duration::from_secs(10);
/// The store gets as long to elect its first leader.
const FIRST_LEADER: Duration = Duration::from_secs(60);

/// The members.
pub struct Etcd {
    members: Vec<Member>,
}

/// One of them.
pub struct Member {
    /// The program.
    pub process: Process,
    /// Where it serves clients, without a proxy.
    pub port: u16,
    data: PathBuf,
}

/// A key as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// With the prefix.
    pub key: Vec<u8>,
    /// As it is.
    pub value: Vec<u8>,
}

impl Etcd {
    /// Starts all members and waits for a leader.
    pub async fn start(program: &Path, folder: &Path, election: Duration) -> anyhow::Result<Self> {
        let ports: Vec<(u16, u16)> =
            (0..MEMBERS).map(|_| Ok((free_port()?, free_port()?))).collect::<std::io::Result<_>>()?;
        let peers: Vec<String> =
            ports.iter().enumerate().map(|(index, (_, peer))| format!("m{index}=http://127.0.0.1:{peer}")).collect();
        let mut members = Vec::new();
        for (index, (client, peer)) in ports.iter().enumerate() {
            let (url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let data = folder.join(format!("etcd-{index}"));
            let arguments = [
                format!("--name=m{index}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster={}", peers.join(",")),
                format!("--election-timeout={}", election.as_millis()),
                format!("--heartbeat-interval={}", election.as_millis() / 10),
                // A killed process loses nothing that the kernel has.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            let mut process = Process::new(program, arguments.to_vec(), folder.join(format!("etcd-{index}.log")));
            process.start()?;
            members.push(Member { process, port: *client, data });
        }
        let etcd = Self { members };
        etcd.wait_for_leader().await?;
        Ok(etcd)
    }

    /// The members.
    pub fn members(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// Where they serve clients, without a proxy.
    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.port).collect()
    }

    /// Waits until a write goes through.
    pub async fn wait_for_leader(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FIRST_LEADER;
        while let Err(error) = self.ask("kv/deleterange", json!({"key": STANDARD.encode("never")})).await {
            if Instant::now() > deadline {
                return Err(error.context("etcd elects no leader"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Index of the leader, if one is known.
    pub async fn leader(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            let status = post(member.port, "maintenance/status", &json!({})).await.unwrap_or_default();
            if status["leader"].is_string() && status["leader"] == status["header"]["member_id"] {
                return Some(index);
            }
        }
        None
    }

    /// Raises or ends the alarm of a full store.
    pub async fn set_full(&self, full: bool) -> anyhow::Result<()> {
        let action = if full { "ACTIVATE" } else { "DEACTIVATE" };
        self.ask("maintenance/alarm", json!({"action": action, "alarm": "NOSPACE"})).await.map(drop)
    }

    /// All keys with this prefix.
    pub async fn range(&self, prefix: &str) -> anyhow::Result<Vec<Stored>> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let answer =
            self.ask("kv/range", json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end)})).await?;
        let items = answer["kvs"].as_array().cloned().unwrap_or_default();
        let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default());
        items.iter().map(|item| Ok(Stored { key: bytes(&item["key"])?, value: bytes(&item["value"])? })).collect()
    }

    /// Puts a key, as somebody who is no replica of ours.
    pub async fn put(&self, item: &Stored) -> anyhow::Result<()> {
        let body = json!({"key": STANDARD.encode(&item.key), "value": STANDARD.encode(&item.value)});
        self.ask("kv/put", body).await.map(drop)
    }

    /// Deletes a key, as somebody who is no replica of ours.
    pub async fn delete(&self, key: &[u8]) -> anyhow::Result<()> {
        self.ask("kv/deleterange", json!({"key": STANDARD.encode(key)})).await.map(drop)
    }

    /// Stops all members, keeps a copy of their data, starts them again.
    pub async fn back_up(&mut self, to: &Path) -> anyhow::Result<()> {
        self.exchange(copy_folder, to).await
    }

    /// Stops all members, puts the copy in place of their data, starts them again: ids stay, revisions go back.
    pub async fn restore(&mut self, from: &Path) -> anyhow::Result<()> {
        let replace = |data: &Path, copy: &Path| {
            std::fs::remove_dir_all(data)?;
            copy_folder(copy, data)
        };
        self.exchange(replace, from).await
    }

    async fn exchange(
        &mut self,
        work: impl Fn(&Path, &Path) -> std::io::Result<()>,
        other: &Path,
    ) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.process.stop().await;
        }
        for (index, member) in self.members.iter_mut().enumerate() {
            work(&member.data, &other.join(format!("copy-{index}")))?;
            member.process.start()?;
        }
        self.wait_for_leader().await
    }

    /// The first member that answers.
    async fn ask(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let mut last = None;
        for member in &self.members {
            match post(member.port, path, &body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no members")?.context(path.to_owned()))
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

async fn post(port: u16, path: &str, body: &Value) -> anyhow::Result<Value> {
    let exchange = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let carrier = tokio::spawn(connection);
        let request = http::Request::post(format!("/v3/{path}"))
            .header("host", "etcd")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        carrier.abort();
        if !status.is_success() {
            bail!("etcd: {status}: {}", String::from_utf8_lossy(&text));
        }
        Ok(serde_json::from_slice(&text)?)
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("etcd does not answer")?
}
