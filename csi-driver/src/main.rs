//! The `holdfast-csi` program.

use std::process::ExitCode;

use clap::Parser;
use holdfast_csi::options::{Command, FetcherOptions, Options};
use holdfast_runtime::Shutdown;

fn main() -> ExitCode {
    let options = Options::parse();
    holdfast_runtime::init_logs(options.log_format, &filter(&options.log_level));
    holdfast_runtime::harden();
    let done = match options.command {
        Command::Fetcher(options) => fetch(*options),
        Command::Mounter(options) => holdfast_csi::mounter::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the driver ends");
            ExitCode::FAILURE
        }
    }
}

fn fetch(options: FetcherOptions) -> anyhow::Result<()> {
    holdfast_runtime::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        holdfast_csi::run(options, shutdown).await
    })
}

/// A bare level is ours alone: at `trace` the transport would print what it carries, tokens among it.
fn filter(level: &str) -> String {
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    let quiet = ["h2", "loona_hpack", "hyper", "hyper_util", "tonic", "tower", "rustls", "kube", "kube_client"];
    quiet.iter().fold(level.to_owned(), |filter, name| format!("{filter},{name}=warn"))
}
