//! `holdfast-operator`: keeps a Holdfast server as SecretEngine, VaultPolicy and DynamicCredential objects say.
//!
//! Start with [`object::reconcile`], the life of every object; `engine`, `policy` and `credential` are what it means for
//! each kind; `janitor` takes back what belonged to pods that are gone; `missed` finds pods that the webhook did not see; `ledger` remembers what could not be taken back.
//!
//! What it needs in the cluster, for all namespaces that it watches:
//!
//! | API group | resources | verbs |
//! |---|---|---|
//! | holdfast.dev | secretengines, vaultpolicies, dynamiccredentials | get list watch patch |
//! | holdfast.dev | the same, `/status` and `/finalizers` | get patch update |
//! | "" | secrets (root credentials, target Secrets; never listed or watched) | get create patch delete |
//! | "" | pods (metadata) | get list watch |
//! | events.k8s.io | events | create patch |
//! | apps | deployments, statefulsets, daemonsets | get patch |
//!
//! In its own namespace: leases of coordination.k8s.io (get create update), configmaps (get create patch), secrets
//! (get create).

mod backoff;
mod bootstrap;
mod context;
mod crds;
mod credential;
mod election;
mod engine;
mod failure;
mod janitor;
mod keyed;
mod ledger;
mod metrics;
mod missed;
mod object;
mod policy;
mod run;
mod server;
mod settings;
mod terms;
mod uninstall;

use clap::Parser as _;

use crate::settings::{Cli, Command, Settings};

fn main() -> anyhow::Result<()> {
    holdfast_runtime::install_crypto_provider();
    let settings = match Cli::parse().command {
        Some(Command::Crds(crds)) => return crate::crds::write(crds.out.as_deref()),
        Some(Command::Uninstall(flags)) => {
            holdfast_runtime::init_logs(holdfast_runtime::LogFormat::Text, "info");
            return runtime()?.block_on(uninstall::run(&flags));
        }
        Some(Command::Run(settings)) => *settings,
        None => Settings::from_environment(),
    };
    holdfast_runtime::init_logs(settings.log_format, &settings.log_level);
    holdfast_runtime::harden();
    runtime()?.block_on(run::run(settings))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
