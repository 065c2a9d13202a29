//! What a foreign client asks of etcd, through its JSON gateway.

use std::time::Duration;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::Etcd;

/// For anything that is asked, and for what rewrites a database.
const PATIENCE: Duration = Duration::from_secs(10);
const LONG_PATIENCE: Duration = Duration::from_secs(120);
/// What ballast is made of.
const PIECE: usize = 1 << 20;

/// A key as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// With the prefix.
    pub key: Vec<u8>,
    /// As it is.
    pub value: Vec<u8>,
}

impl Etcd {
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

    /// Drops all history.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let newest = self.ask("kv/range", json!({"key": STANDARD.encode("never")})).await?;
        let revision = newest["header"]["revision"].clone();
        self.ask("kv/compaction", json!({"revision": revision})).await.map(drop)
    }

    /// Has a member write its database anew, during which it does nothing else.
    pub async fn defragment(&self, index: usize) -> anyhow::Result<()> {
        let port = self.members[index].port;
        within(LONG_PATIENCE, port, "maintenance/defragment", &json!({})).await.map(drop)
    }

    /// Fills the store with so many MiB that are not ours.
    pub async fn put_ballast(&self, mebibytes: usize) -> anyhow::Result<()> {
        for number in 0..mebibytes {
            self.put(&Stored { key: format!("ballast/{number}").into_bytes(), value: vec![b'x'; PIECE] }).await?;
        }
        Ok(())
    }

    /// Has the leader hand over to a member.
    pub(super) async fn hand_over(&self, to: usize) -> anyhow::Result<()> {
        let status = post(self.members[to].port, "maintenance/status", &json!({})).await?;
        let leader = self.leader().await.context("there is no leader")?;
        let body = json!({"targetID": status["header"]["member_id"]});
        post(self.members[leader].port, "maintenance/transfer-leadership", &body).await.map(drop)
    }

    /// The first member that answers.
    pub(super) async fn ask(&self, path: &str, body: Value) -> anyhow::Result<Value> {
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

pub(super) async fn post(port: u16, path: &str, body: &Value) -> anyhow::Result<Value> {
    within(PATIENCE, port, path, body).await
}

async fn within(patience: Duration, port: u16, path: &str, body: &Value) -> anyhow::Result<Value> {
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
    tokio::time::timeout(patience, exchange).await.context("etcd does not answer")?
}
