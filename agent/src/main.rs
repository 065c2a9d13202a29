//! `holdfast-agent`: see [`holdfast_agent::arguments::HELP`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(holdfast_agent::command::main(std::env::args().skip(1)))
}
