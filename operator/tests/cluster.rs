//! The operator as a process beside an API server.

use std::process::Command;

use holdfast_envtest::{Cluster, Process};

/// Starts the operator as the replica `name`.
pub fn operator(cluster: &Cluster, name: &str, server: &str) -> Process {
    let token = cluster.folder().join("token");
    std::fs::write(&token, "a service account token").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-operator"));
    command
        .env("HOLDFAST_ADDR", server)
        .env("HOLDFAST_TOKEN_FILE", token)
        .env("HOLDFAST_ADMIN_ADDR", "127.0.0.1:0")
        .env("HOLDFAST_SEAL_SECRET", "holdfast-seal")
        .env("HOLDFAST_RESYNC_SECONDS", "5")
        .env("HOLDFAST_LOG_LEVEL", "info,holdfast_operator=debug")
        .env("POD_NAME", name);
    cluster.spawn(command, name)
}
