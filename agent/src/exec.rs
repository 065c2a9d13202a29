//! The program that gets variables: started once they are all there, started anew or left alone when they change, told of
//! the agent's signals, and its end is the agent's end with the same exit code.

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc};

use holdfast_runtime::Shutdown;
use holdfast_secret::SecretString;
use rustix::process::{Pid, Signal};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use crate::{
    action::signal_by_name,
    config::Exec,
    failure::{Class, Failure},
};

/// The variables of one start. Files count as one more that nobody sees: a change of them is a change.
#[derive(Debug, Default)]
pub struct Environment {
    /// By name.
    pub variables: BTreeMap<String, SecretString>,
    /// How often files of items have changed.
    pub files: u64,
}

impl Environment {
    /// Would the program see no difference?
    pub fn is_same(&self, other: &Self) -> bool {
        let pairs = self.variables.iter().zip(&other.variables);
        self.files == other.files
            && self.variables.len() == other.variables.len()
            && pairs
                .into_iter()
                .all(|((name, value), (name2, value2))| name == name2 && value.expose() == value2.expose())
    }
}

/// Runs the program until it ends or the shutdown comes; its exit code, 128 and the signal where one killed it.
pub async fn supervise(
    exec: &Exec,
    mut environment: watch::Receiver<Option<Arc<Environment>>>,
    shutdown: Shutdown,
) -> Result<u8, Failure> {
    let mut signals = signals()?;
    let mut child: Option<Child> = None;
    loop {
        tokio::select! {
            changed = environment.changed() => {
                let current = environment.borrow_and_update().clone();
                let (Ok(()), Some(current)) = (changed, current) else { continue };
                if let Some(mut running) = child.take() {
                    if !exec.restart {
                        info!(program = exec.command[0], "variables have changed; it is configured not to be restarted");
                        child = Some(running);
                        continue;
                    }
                    info!(program = exec.command[0], "variables have changed: starting it anew");
                    stop(&mut running, exec).await;
                }
                child = Some(start(exec, &current)?);
            }
            ended = wait(&mut child) => {
                let code = code(ended);
                info!(program = exec.command[0], code, "it has ended");
                return Ok(code);
            }
            Some(signal) = signals.recv() => {
                if let Some(pid) = pid(child.as_ref()) {
                    // It may have ended meanwhile.
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
            () = shutdown.cancelled() => {
                let Some(mut running) = child.take() else { return Ok(0) };
                return Ok(code(stop(&mut running, exec).await));
            }
        }
    }
}

fn start(exec: &Exec, environment: &Environment) -> Result<Child, Failure> {
    let (program, arguments) = exec.command.split_first().unwrap_or((&exec.command[0], &[]));
    let variables = environment.variables.iter().map(|(name, value)| (name, value.expose()));
    let mut command = Command::new(program);
    exec.inherited.apply(&mut command);
    let child = command
        .args(arguments)
        .envs(variables)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::new(Class::Config, format!("exec: {program}: {error}")))?;
    child.id().into_iter().for_each(holdfast_runtime::unharden);
    info!(program, pid = child.id(), "started");
    Ok(child)
}

/// Ends when the program does; never without one.
async fn wait(child: &mut Option<Child>) -> Option<ExitStatus> {
    match child {
        Some(child) => child.wait().await.ok(),
        None => std::future::pending().await,
    }
}

/// Tells it to end, and kills it after its time of grace.
async fn stop(child: &mut Child, exec: &Exec) -> Option<ExitStatus> {
    if let (Some(pid), Some(signal)) = (pid(Some(child)), signal_by_name(&exec.stop_signal)) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process(pid, signal);
    }
    if let Ok(ended) = tokio::time::timeout(exec.grace, child.wait()).await {
        return ended.ok();
    }
    warn!(program = exec.command[0], "did not end in time: killed");
    // As above.
    let _ = child.start_kill();
    child.wait().await.ok()
}

fn pid(child: Option<&Child>) -> Option<Pid> {
    child?.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn code(status: Option<ExitStatus>) -> u8 {
    let code = status.and_then(|status| status.code().or(status.signal().map(|signal| 128 + signal)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The signals that are passed on. TERM and INT are the shutdown's: the program gets its stop signal then.
fn signals() -> Result<mpsc::Receiver<Signal>, Failure> {
    let (sender, receiver) = mpsc::channel(8);
    let kinds = [
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::quit(), Signal::QUIT),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
        (SignalKind::window_change(), Signal::WINCH),
    ];
    for (kind, passed_on) in kinds {
        let mut stream = signal(kind).map_err(|error| Failure::new(Class::Config, error.to_string()))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(passed_on).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}
