//! The command line, in the habits of the vault command: the same words, flags with one dash, environment, tables,
//! exit codes (0 done, 1 wrong use, 2 refused by the server; `status`: 2 when sealed).
//!
//! [`run`] is the whole of it; the binary of the server calls it for everything but `server`. One file per noun in
//! `commands`; what they share is the [`session::Session`]: connection, token, output.

mod api;
mod commands;
mod environment;
mod failure;
mod flags;
mod format;
mod input;
mod instead;
mod kvpath;
mod options;
mod prompt;
pub mod reference;
mod session;
mod token_file;

use std::{ffi::OsString, io::Write};

use clap::FromArgMatches;

pub use options::command;

/// Runs one command. `arguments` are those of the process, its name first. Answers the exit code.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let matches = match options::command().try_get_matches_from(flags::rewrite(arguments)) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return u8::from(error.use_stderr());
        }
    };
    let cli = match options::Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return 1;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return 1;
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}
