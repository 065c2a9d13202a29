//! The program: `holdfast-agent`, and `holdfast agent` in the binary of the server.

use std::{io::Write, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_runtime::{LogFormat, Shutdown};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tracing::warn;

use crate::{
    arguments::{self, Arguments, Command},
    config::{Address, Config},
    control,
    failure::{Class, Failure},
    file,
    run::{self, Mode},
    status,
};

/// Where kubelet reads the reason of a container's end.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Longest text that kubelet takes from there.
const TERMINATION_BYTES: usize = 4096;

/// Does what the words after the program's name say; the exit code of the process.
pub fn main(words: impl IntoIterator<Item = String>) -> u8 {
    let environment = |name: &str| std::env::var(name).ok();
    let outcome = arguments::parse(words, &environment)
        .map_err(|reason| Failure::new(Class::Config, reason))
        .and_then(|arguments| perform(&arguments));
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            explain(&failure.text);
            failure.class.exit_code()
        }
    }
}

fn perform(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.command {
        Command::Version => println!("holdfast-agent {}", env!("CARGO_PKG_VERSION")),
        Command::Help => print!("{}", arguments::HELP),
        Command::Copy(to) => copy(to)?,
        Command::Ready => return Ok(ready(&load(arguments)?.0)),
        Command::Rotate(item) => {
            let (config, _) = load(arguments)?;
            println!("{}", runtime()?.block_on(control::rotate(&config.status_dir, item.as_deref()))?);
        }
        Command::Quit => {
            let (config, _) = load(arguments)?;
            runtime()?.block_on(quit(&config))?;
        }
        Command::Run => return start(arguments, Mode::Sidecar),
        Command::Init => return start(arguments, Mode::Once),
    }
    Ok(0)
}

/// The configuration, from wherever it is, and what is strange about it.
fn load(arguments: &Arguments) -> Result<(Config, Vec<String>), Failure> {
    let injected = match arguments.config.as_slice() {
        [] => Some(Config::load(None)),
        [only] if is_injected(only) => Some(Config::load(Some(only.clone()))),
        _ => None,
    };
    let loaded = match injected {
        Some(config) => config.map(|config| (config, Vec::new())),
        None => file::load(&arguments.config, &|name| std::env::var(name).ok())
            .map(|loaded| (loaded.config, loaded.warnings)),
    };
    let (mut config, warnings) = loaded.map_err(|error| Failure::new(Class::Config, error.to_string()))?;
    if let Some(level) = &arguments.log_level {
        config.log_level.clone_from(level);
    }
    if let Some(format) = &arguments.log_format {
        config.log_format.clone_from(format);
    }
    Ok((config, warnings))
}

/// Is it a document of the injector, not a file in the format of Vault's agent?
fn is_injected(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    json.get("server").is_some() && json.get("items").is_some()
}

fn ready(config: &Config) -> u8 {
    if config.status_dir.as_os_str().is_empty() {
        eprintln!("ready: there is no status to look at: set status_dir in the configuration");
        return Class::Config.exit_code();
    }
    if status::is_ready(&config.status_dir) {
        return 0;
    }
    eprintln!("not everything is rendered yet");
    Class::Away.exit_code()
}

fn start(arguments: &Arguments, mode: Mode) -> Result<u8, Failure> {
    let (config, warnings) = load(arguments)?;
    holdfast_runtime::install_crypto_provider();
    let format = config.log_format.parse().unwrap_or(LogFormat::Text);
    let level = config.log_level.to_ascii_lowercase();
    holdfast_runtime::init_logs(format, if level.is_empty() { "info" } else { &level });
    holdfast_runtime::harden();
    for warning in warnings {
        warn!("{warning}");
    }
    runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(|error| Failure::new(Class::Config, error.to_string()))?;
        run::run(config, mode, Arc::new(SystemClock), Arc::new(SystemEntropy), shutdown).await
    })
}

/// One thread: the agent runs in every injected pod, and waits nearly always.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.map_err(|error| Failure::new(Class::Config, error.to_string()))
}

/// Copies the running program, so that a container without it can run it from a shared volume.
fn copy(to: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Class::Config, format!("copy to {}: {error}", to.display()));
    let own = std::env::current_exe().map_err(failed)?;
    std::fs::copy(own, to).map_err(failed)?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).map_err(failed)
}

/// `POST /agent/v1/quit` at the listener that takes it.
async fn quit(config: &Config) -> Result<(), Failure> {
    let failed = |reason: String| Failure::new(Class::Away, format!("quit: {reason}"));
    let listener = config.listeners.iter().find(|listener| listener.enable_quit && listener.tls.is_none());
    let listener = listener.ok_or_else(|| {
        Failure::new(Class::Config, "quit: no listener without TLS has agent_api { enable_quit = true }")
    })?;
    let answer = match &listener.address {
        Address::Tcp(address) => match TcpStream::connect(address).await {
            Ok(stream) => ask_to_quit(stream).await,
            Err(error) => Err(error),
        },
        Address::Unix(path, _) => match UnixStream::connect(path).await {
            Ok(stream) => ask_to_quit(stream).await,
            Err(error) => Err(error),
        },
    };
    match answer {
        Ok(head) if head.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(head) => Err(failed(head.lines().next().unwrap_or("no answer").to_owned())),
        Err(error) => Err(failed(format!("{:?}: {error}", listener.address))),
    }
}

async fn ask_to_quit(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<String> {
    let request = "POST /agent/v1/quit HTTP/1.1\r\nHost: localhost\r\nX-Vault-Request: true\r\nContent-Length: 0\r\n\
                   Connection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(1024).read_to_end(&mut head).await?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Leaves the reason where `kubectl describe pod` shows it.
fn explain(text: &str) {
    let mut end = text.len().min(TERMINATION_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Outside of a pod there is no such file, and none must be made.
    if let Ok(mut file) = std::fs::OpenOptions::new().write(true).truncate(true).open(TERMINATION_LOG) {
        let _ = file.write_all(&text.as_bytes()[..end]);
    }
}
