//! `failover`: what clients notice of each fault, as a table. See docs/reliability.md.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use holdfast_chaos::{
    cluster::{Cluster, Mode, Settings},
    disk::{self, Point},
    etcd::Disk,
    failover::{Figures, measure, rows::ROWS},
};

/// Measures what faults cost under load on three replicas and three etcd members.
#[derive(Parser)]
struct Arguments {
    /// The server's program.
    #[arg(long)]
    holdfast: PathBuf,
    /// etcd's program.
    #[arg(long, env = "HOLDFAST_ETCD")]
    etcd: PathBuf,
    /// Only faults with one of these numbers, FM16. Default: all.
    #[arg(long)]
    only: Vec<String>,
    /// Slow disks under etcd instead: so many milliseconds for each wait. Needs strace, which may trace.
    #[arg(long)]
    disk: Vec<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { holdfast, etcd, only, disk } = Arguments::parse();
    let election = Duration::from_secs(1);
    let settings =
        Settings { holdfast, etcd, mode: Mode::Cached, election, disk: Disk::Unsynced, variables: Vec::new() };
    if !disk.is_empty() {
        println!("{}", Point::HEAD);
        println!("{}", disk::measure(&settings, None).await?);
        for delay in disk {
            println!("{}", disk::measure(&settings, Some(Duration::from_millis(delay))).await?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", Figures::HEAD);
    let mut outcome = ExitCode::SUCCESS;
    for row in ROWS.iter().filter(|row| only.is_empty() || only.iter().any(|number| number == row.number)) {
        let mut cluster = Cluster::start(&settings).await?;
        match measure(&mut cluster, row).await {
            Ok(figures) => println!("{figures}"),
            Err(error) => {
                cluster.keep_folder();
                eprintln!("{} {}: {error:?}; logs are in {}", row.number, row.what, cluster.folder().display());
                outcome = ExitCode::FAILURE;
            }
        }
    }
    Ok(outcome)
}
