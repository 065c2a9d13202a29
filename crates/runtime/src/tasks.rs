//! Tasks with owners and names. One that ends by itself ends the process: a controller without its watch is worse than
//! a pod that restarts.

use std::future::Future;

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// Told to all tasks when the process is to end.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

/// The long-running tasks of a process.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    shutdown: Shutdown,
}

impl Shutdown {
    /// Never cancelled, unless by [`Shutdown::cancel`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
    pub fn on_signals() -> anyhow::Result<Self> {
        let shutdown = Self::new();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let token = shutdown.0.clone();
        tokio::spawn(async move {
            for times in 0.. {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
                if times == 0 {
                    info!("shutting down");
                    token.cancel();
                } else {
                    warn!("second signal: ending at once");
                    std::process::exit(130);
                }
            }
        });
        Ok(shutdown)
    }

    /// Starts the shutdown.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Waits for the shutdown.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Has the shutdown begun?
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { set: JoinSet::new(), shutdown }
    }

    /// Starts a task that runs until the shutdown.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits for all tasks. The first that ends before the shutdown, or with an error, starts the shutdown and is the
    /// error of the process.
    pub async fn join(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.set.join_next().await {
            let failure = match ended {
                Ok((_, Ok(()))) if self.shutdown.is_cancelled() => None,
                Ok((name, Ok(()))) => Some(anyhow::anyhow!("task {name} ended")),
                Ok((name, Err(error))) => Some(error.context(format!("task {name}"))),
                Err(error) => Some(anyhow::anyhow!("a task panicked: {error}")),
            };
            if let Some(failure) = failure {
                error!(error = format!("{failure:#}"), "a task failed");
                self.shutdown.cancel();
                outcome = outcome.and(Err(failure));
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_ends_the_process() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("short", async { Ok(()) });
        let waiting = shutdown.clone();
        tasks.spawn("long", async move {
            waiting.cancelled().await;
            Ok(())
        });
        let error = tasks.join().await.unwrap_err();
        assert_eq!(error.to_string(), "task short ended");
    }

    #[tokio::test]
    async fn tasks_that_end_after_the_shutdown_are_no_error() {
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let waiting = shutdown.clone();
        tasks.spawn("long", async move {
            waiting.cancelled().await;
            Ok(())
        });
        shutdown.cancel();
        tasks.join().await.unwrap();
    }
}
