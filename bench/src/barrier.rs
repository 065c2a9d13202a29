//! The barrier alone, without listener, policies and engines: what encryption, lanes and the watch cost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_barrier::{Barrier, Options, StoreError, View, one_request};
use holdfast_base::{SystemClock, SystemEntropy, id};
use holdfast_secret::SecretBytes;
use holdfast_storage_etcd::{Config, EtcdStorage};

use crate::latency::Latencies;

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// `http://host:port` of etcd.
    endpoint: String,
    /// Requests that wait for an answer at any time.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Each transaction goes to etcd by itself.
    #[arg(long)]
    one_by_one: bool,
    /// Only read.
    #[arg(long)]
    read: bool,
    /// For how long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Keeps `in_flight` requests at work, each a read and, unless only reads are wanted, a put of 300 bytes.
pub async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { endpoint, in_flight, one_by_one, read, seconds } = arguments;
    let prefix = format!("barrier/{}/", id::public_uuid(&SystemEntropy));
    let config = Config { endpoints: vec![endpoint], prefix, ..Config::default() };
    let storage = Arc::new(EtcdStorage::connect(config).await?);
    let options = Options { old_etcd: one_by_one, ..Options::default() };
    let barrier = Barrier::open_with(storage, Arc::new(SystemClock), Arc::new(SystemEntropy), options);
    let root = SecretBytes::new([7; 32]);
    barrier.initialize(&root).await?;
    barrier.unseal(root).await?;
    let view = View::new(barrier.clone(), "bench/");
    view.put("read", SecretBytes::new([b'x'; 300])).await?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..in_flight).map(|task| tokio::spawn(requests(view.clone(), task, read, end))).collect();
    let mut latencies = Latencies::default();
    for task in tasks {
        latencies.add(task.await??);
    }
    println!("{}", latencies.summary(Duration::from_secs(seconds), 1));
    barrier.seal().await;
    Ok(())
}

async fn requests(view: View, task: usize, read: bool, end: Instant) -> Result<Vec<Duration>, StoreError> {
    let mut latencies = Vec::new();
    for round in 0.. {
        let start = Instant::now();
        if start >= end {
            break;
        }
        one_request(async {
            view.get("read").await?;
            if !read {
                view.put(&format!("{task}/{}", round % 300), SecretBytes::new([b'x'; 300])).await?;
            }
            Ok::<_, StoreError>(())
        })
        .await?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}
