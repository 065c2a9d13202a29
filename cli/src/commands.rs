//! One file per noun.

pub mod audit;
pub mod auth;
pub mod delete;
pub mod events;
pub mod kv;
pub mod lease;
pub mod list;
pub mod login;
pub mod monitor;
pub mod mounts;
pub mod namespace;
pub mod operator;
pub mod path_help;
pub mod plugin;
pub mod policy;
pub mod print;
pub mod read;
pub mod secrets;
pub mod status;
pub mod token;
pub mod unwrap;
pub mod version_history;
pub mod write;

use crate::{
    environment::Environment,
    failure::Failure,
    options::{Cli, Command},
    session::Session,
};

/// Runs the command.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let source = |name: &str| std::env::var(name).ok();
    let session = Session::open(&cli.global, &Environment::new(&source))?;
    let session = &session;
    match cli.command {
        Command::Read(command) => command.run(session).await,
        Command::Write(command) => command.run(session).await,
        Command::Patch(command) => command.run(session).await,
        Command::Delete(command) => command.run(session).await,
        Command::List(command) => command.run(session).await,
        Command::Scan(command) => command.run(session).await,
        Command::Login(command) => command.run(session).await,
        Command::Status => status::run(session).await,
        Command::Unwrap(command) => command.run(session).await,
        Command::Kv(command) => command.run(session).await,
        Command::Secrets(command) => command.run(session).await,
        Command::Auth(command) => command.run(session).await,
        Command::Namespace(command) => command.run(session).await,
        Command::Policy(command) => command.run(session).await,
        Command::Token(command) => command.run(session).await,
        Command::Lease(command) => command.run(session).await,
        Command::Audit(command) => command.run(session).await,
        Command::Events(command) => command.run(session).await,
        Command::Plugin(command) => command.run(session).await,
        Command::VersionHistory => version_history::run(session).await,
        Command::Monitor(command) => command.run(session).await,
        Command::Operator(command) => command.run(session).await,
        Command::PathHelp(command) => command.run(session).await,
        Command::Print(command) => command.run(session),
        Command::Version => {
            session.print(&format!("Holdfast v{}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    }
}
