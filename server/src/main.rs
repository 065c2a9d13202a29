//! The `holdfast` binary: server, agent and command line in one file. Called as `vault`, it answers for the version of Vault
//! whose protocol it speaks.

use std::{ffi::OsString, path::Path, process::ExitCode};

use holdfast_api_types::VAULT_VERSION;
use holdfast_server::{arguments, diagnose, process, serve};

/// A request makes and drops many small things and a few of some kilobytes, on whichever thread: the C library's allocator is
/// slow at that, and others keep much of what is free. Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    holdfast_runtime::install_crypto_provider();
    let words: Vec<OsString> = std::env::args_os().collect();
    match words.get(1).and_then(|word| word.to_str()) {
        Some("server") => server(words.iter().skip(2).map(|word| word.to_string_lossy().into_owned())),
        Some("agent") => {
            let words = words.iter().skip(2).map(|word| word.to_string_lossy().into_owned());
            ExitCode::from(holdfast_agent::command::main(words))
        }
        Some("operator") if words.get(2).is_some_and(|word| word == "diagnose") => {
            diagnosed(words.iter().skip(3).map(|word| word.to_string_lossy().into_owned()).collect())
        }
        Some("-version" | "--version" | "-v" | "version") => {
            println!("{}", version(words.first()));
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(holdfast_cli::run(words)),
    }
}

fn version(called: Option<&OsString>) -> String {
    let own = env!("CARGO_PKG_VERSION");
    match called.and_then(|called| Path::new(called).file_name()?.to_str()) {
        Some("vault") => format!("Vault v{VAULT_VERSION} (Holdfast v{own})"),
        _ => format!("Holdfast v{own}"),
    }
}

fn server(words: impl IntoIterator<Item = String>) -> ExitCode {
    let arguments = match arguments::parse(words, &|name| std::env::var(name).ok()) {
        Ok(arguments) if arguments.help => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(arguments) => arguments,
        Err(error) => return fail(&error.to_string()),
    };
    process::private_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no threads: {error}")),
    };
    match runtime.block_on(serve::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn diagnosed(words: Vec<String>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(diagnose::run(words))),
        Err(error) => fail(&format!("no threads: {error}")),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("holdfast server: {message}");
    ExitCode::FAILURE
}
