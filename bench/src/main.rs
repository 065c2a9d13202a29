//! What the machine could do at best, measured in the same run as the server: a bare HTTP server that answers a fixed body,
//! and an etcd that takes conditional puts with nobody in front of it.

mod bare;
mod barrier;
mod latency;
mod puts;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    limit: Limit,
}

#[derive(Subcommand)]
enum Limit {
    /// Serve a fixed 230-byte JSON body until killed: the limit of the read rows.
    Http {
        /// Port on 127.0.0.1.
        port: u16,
    },
    /// Put 300 bytes under two compares for some seconds: the limit of the write rows. Prints puts/s, p50 and p99 in ms.
    Etcd(puts::Arguments),
    /// Read and put 300 bytes through the barrier, without a server around it. Prints requests/s, p50 and p99 in ms.
    Barrier(barrier::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().limit {
        Limit::Http { port } => bare::serve(port).await,
        Limit::Etcd(arguments) => puts::measure(arguments).await,
        Limit::Barrier(arguments) => barrier::measure(arguments).await,
    }
}
