//! Conditional puts straight into etcd, one by one or nested as the server's group commit sends them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use holdfast_storage::{Compare, Condition, Op, Storage, Txn};
use holdfast_storage_etcd::{Config, EtcdStorage};

use crate::latency::Latencies;

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// `http://host:port` of etcd.
    endpoint: String,
    /// Puts that wait for an answer at any time.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Puts in one transaction; 1 sends each by itself.
    #[arg(long, default_value_t = 1)]
    nested: usize,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Keeps `in_flight` puts on their way and prints what came of it.
pub async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { endpoint, in_flight, nested, seconds } = arguments;
    ensure!(nested > 0 && in_flight >= nested, "--nested must lie between 1 and --in-flight");
    let config = Config { endpoints: vec![endpoint], prefix: "limits/".to_owned(), ..Config::default() };
    let storage = Arc::new(EtcdStorage::connect(config).await?);
    let end = Instant::now() + Duration::from_secs(seconds);
    let lanes: Vec<_> =
        (0..in_flight / nested).map(|lane| tokio::spawn(put(storage.clone(), lane, nested, end))).collect();
    let mut latencies = Latencies::default();
    for lane in lanes {
        latencies.add(lane.await??);
    }
    println!("{}", latencies.summary(Duration::from_secs(seconds), nested));
    Ok(())
}

/// One transaction after the other, each over keys of this lane.
async fn put(storage: Arc<EtcdStorage>, lane: usize, nested: usize, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for round in 0.. {
        let start = Instant::now();
        if start >= end {
            break;
        }
        let mut children = (0..nested).map(|child| child_of(lane, child, round));
        let txn = match (nested, children.next()) {
            (1, Some(only)) => only,
            (_, first) => Txn {
                compares: Vec::new(),
                then: first.into_iter().chain(children).map(Op::Txn).collect(),
                otherwise: Vec::new(),
            },
        };
        let reply = storage.txn(txn).await?;
        ensure!(reply.succeeded, "a compare failed: is somebody else writing?");
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

/// A put of 300 bytes that holds if the key is new and a second one is absent.
fn child_of(lane: usize, child: usize, round: usize) -> Txn {
    let key = Bytes::from(format!("{lane}/{child}/{round}"));
    let other = Bytes::from(format!("{lane}/{child}/{round}/absent"));
    let compares = vec![Compare::new(key.clone(), Condition::Absent), Compare::new(other, Condition::Absent)];
    Txn { compares, then: vec![Op::put(key, Bytes::from_static(&[b'x'; 300]))], otherwise: Vec::new() }
}
