//! `failover`: what clients of the other replicas notice of each fault, as a table. See docs/reliability.md.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use holdfast_chaos::{
    cluster::{Cluster, Mode, Settings},
    failover::{Fault, Figures, measure},
};

/// Measures failover under load on three replicas and three etcd members.
#[derive(Parser)]
struct Arguments {
    /// The server's program.
    #[arg(long)]
    holdfast: PathBuf,
    /// etcd's program.
    #[arg(long, env = "HOLDFAST_ETCD")]
    etcd: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { holdfast, etcd } = Arguments::parse();
    let election = Duration::from_secs(1);
    let settings = Settings { holdfast, etcd, mode: Mode::Cached, election, variables: Vec::new() };
    let mut cluster = Cluster::start(&settings).await?;
    println!("{}", Figures::HEAD);
    for fault in [Fault::Killed, Fault::Left, Fault::Slow, Fault::Leader] {
        println!("{}", measure(&mut cluster, fault).await?);
    }
    Ok(())
}
