//! Commands, run as a user would type them. A failure carries the whole output.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncWriteExt, process::Command};

/// Output of a command that went well.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let (ok, out, err) = attempt(program, arguments, None).await?;
    if !ok {
        bail!("{program} {}\n{out}{err}", arguments.join(" "));
    }
    Ok(out)
}

/// Did it go well, standard output, standard error.
pub async fn attempt(program: &str, arguments: &[&str], stdin: Option<&str>) -> Result<(bool, String, String)> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().with_context(|| format!("{program} cannot be started: is it on PATH?"))?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).await?;
        drop(pipe);
    }
    let output = child.wait_with_output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

/// `kubectl …` that must go well; arguments are split at blanks.
pub async fn kubectl(arguments: &str) -> Result<String> {
    run("kubectl", &arguments.split_whitespace().collect::<Vec<_>>()).await
}

/// `kubectl apply -f -` in a namespace: output and warnings.
pub async fn kubectl_apply(namespace: &str, manifest: &str) -> Result<String> {
    let (ok, out, err) = attempt("kubectl", &["apply", "-n", namespace, "-f", "-"], Some(manifest)).await?;
    if !ok {
        bail!("kubectl apply: {out}{err}");
    }
    Ok(format!("{out}{err}"))
}

/// A shell line in a container.
pub async fn exec(namespace: &str, pod: &str, container: &str, line: &str) -> Result<String> {
    run("kubectl", &["exec", "-n", namespace, pod, "-c", container, "--", "sh", "-c", line]).await
}
