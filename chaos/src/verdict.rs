//! Asks the checker (porcupine, in `chaos/checker`) about a history.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tokio::process::Command;

/// What the checker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains all answers.
    Linearizable,
    /// There is none; the history of a key that shows it.
    Violated(String),
    /// It was not found out in time.
    Undecided(String),
}

/// Builds the checker; Go does nothing if it is built already.
pub async fn build_checker(into: &Path) -> anyhow::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("checker");
    let program = into.join("checker");
    let built = Command::new(find_go())
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .output()
        .await
        .context("the checker of histories is a Go program; install Go")?;
    ensure!(built.status.success(), "building the checker: {}", String::from_utf8_lossy(&built.stderr));
    Ok(program)
}

/// The verdict on a history. A violation is also drawn in `picture`.
pub async fn judge(checker: &Path, history: &Path, picture: &Path) -> anyhow::Result<Verdict> {
    let output = Command::new(checker).arg(history).arg(picture).output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Ok(Verdict::Linearizable),
        Some(1) => Ok(Verdict::Violated(said)),
        Some(3) => Ok(Verdict::Undecided(said)),
        _ => anyhow::bail!("the checker failed: {said}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn find_go() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/local/go/bin")]);
    folders.map(|folder| folder.join("go")).find(|file| file.is_file()).unwrap_or_else(|| PathBuf::from("go"))
}
