//! `holdfast-agent`: `run` (sidecar), `init` (ends after the first render), `ready` (probe), `version`.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use holdfast_agent::{
    config::Config,
    failure::{Class, Failure},
    run::{self, Mode},
    status,
};
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_runtime::{LogFormat, Shutdown};

/// Where kubelet reads the reason of a container's end.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Longest text that kubelet takes from there.
const TERMINATION_BYTES: usize = 4096;

/// Logs in, renders templates, renews: the sidecar of injected pods.
#[derive(Parser)]
#[command(name = "holdfast-agent", version)]
struct Arguments {
    /// File with the configuration; without it the environment variable HOLDFAST_AGENT_CONFIG holds it.
    #[arg(long, global = true, env = "HOLDFAST_AGENT_CONFIG_FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Subcommand)]
enum Command {
    /// Render, then keep everything fresh until told to end (the default).
    Run,
    /// Render once and end.
    Init,
    /// Exit 0 if everything has been rendered: for probes.
    Ready,
    /// Print the version.
    Version,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Run);
    if let Command::Version = command {
        println!("holdfast-agent {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let outcome = Config::load(arguments.config)
        .map_err(|error| Failure::new(Class::Config, error.to_string()))
        .and_then(|config| match command {
            Command::Ready => ready(&config),
            Command::Init => start(config, Mode::Once),
            Command::Run | Command::Version => start(config, Mode::Sidecar),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            if !matches!(command, Command::Ready) {
                explain(&failure.text);
            }
            ExitCode::from(failure.class.exit_code())
        }
    }
}

fn ready(config: &Config) -> Result<(), Failure> {
    if status::is_ready(&config.status_dir) {
        return Ok(());
    }
    Err(Failure::new(Class::Away, "not everything is rendered yet"))
}

fn start(config: Config, mode: Mode) -> Result<(), Failure> {
    holdfast_runtime::install_crypto_provider();
    let format = config.log_format.parse().unwrap_or(LogFormat::Text);
    holdfast_runtime::init_logs(format, if config.log_level.is_empty() { "info" } else { &config.log_level });
    let system = |error: String| Failure::new(Class::Config, error);
    // One thread: the agent runs in every injected pod, and waits nearly always.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| system(error.to_string()))?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(|error| system(error.to_string()))?;
        run::run(config, mode, Arc::new(SystemClock), Arc::new(SystemEntropy), shutdown).await
    })
}

/// Leaves the reason where `kubectl describe pod` shows it.
fn explain(text: &str) {
    let mut end = text.len().min(TERMINATION_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Outside of a pod there is no such file, and none must be made.
    if let Ok(mut file) = std::fs::OpenOptions::new().write(true).truncate(true).open(TERMINATION_LOG) {
        let _ = std::io::Write::write_all(&mut file, &text.as_bytes()[..end]);
    }
}
