//! The loop: log in, read what is due, render, write what has changed, tell the application, sleep.

mod group;
mod render;
mod rest;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use holdfast_base::{Clock, Entropy};
use holdfast_client::{Client, changes::Heard};
use holdfast_runtime::{Admin, Shutdown};
use holdfast_template::Call;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    backoff::Jitter,
    config::Config,
    control::{self, Order},
    dependency::{Dependency, Round},
    exec::{self, Environment},
    failure::{Class, Failure},
    hear,
    items::{Dependencies, Prepared},
    metrics::Metrics,
    nudge::Nudges,
    pid_file::PidFile,
    proxy,
    session::{self, Session},
    sinks,
    status::{self, Status},
};

/// Before the first render: how long a refusal may last, since policies and roles of a new deployment may come after
/// its pods.
const PATIENCE: Duration = Duration::from_secs(10);
/// A limit to the first render that is none.
const LONG: Duration = Duration::from_secs(86_400);

/// When the agent ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// After the first render.
    Once,
    /// Never.
    Sidecar,
}

struct Agent {
    config: Config,
    mode: Mode,
    items: Vec<Prepared>,
    dependencies: Dependencies,
    clock: Arc<dyn Clock>,
    jitter: Jitter,
    status: Status,
    started: Instant,
    metrics: Metrics,
    admin: Admin,
    /// The connection with the current token, for listeners and events.
    token: watch::Sender<Option<Client>>,
    environment: watch::Sender<Option<Arc<Environment>>>,
    heard: mpsc::Receiver<Heard>,
    /// Does the server tell of changes at the moment?
    told: bool,
    nudges: Nudges,
    /// Why files were not written in the last pass.
    refused: BTreeSet<String>,
    orders: mpsc::Receiver<Order>,
    /// Orders that are being carried out, with what they are about.
    ordered: Vec<(Order, BTreeSet<Call>)>,
    /// Changes of files so far.
    written: u64,
    /// What is being done after changes.
    actions: JoinSet<()>,
}

/// Runs until the shutdown, the end of the program, the first render ([`Mode::Once`]), or a failure that ends it. Answers
/// the exit code: that of the program, or 0.
pub async fn run(
    config: Config,
    mode: Mode,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shutdown: Shutdown,
) -> Result<u8, Failure> {
    let items = config.items.iter().cloned().map(Prepared::new).collect::<Result<Vec<_>, _>>()?;
    let _pid_file = config.pid_file.clone().map(PidFile::write).transpose()?;
    let (metrics, admin) = (Metrics::default(), Admin::new());
    admin.register(|registry| metrics.register(registry));
    let (token, connection) = watch::channel(None);
    let (environment, environments) = watch::channel(None);
    let (hearing, heard) = mpsc::channel(64);
    let (ordering, orders) = mpsc::channel(4);
    let jitter = Jitter::new(entropy);
    // Dropped with this function, which ends what it holds.
    let mut tasks = JoinSet::new();
    if let Some(address) = config.metrics {
        let serving = admin.clone().serve(address, shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                warn!(%error, "no metrics");
            }
        });
    }
    let unnamed = session::connect(&config.server)?;
    for listener in proxy::bind(&config, unnamed, connection.clone(), metrics.clone(), admin.clone(), &shutdown).await?
    {
        tasks.spawn(listener);
    }
    if !config.logs_in() {
        shutdown.cancelled().await;
        return Ok(0);
    }
    let once = mode == Mode::Once || config.exit_after_auth;
    if !once && !config.poll_only && !items.is_empty() {
        tasks.spawn(hear::listen(connection, hearing, jitter.clone(), metrics.clone()));
    }
    if !once && !config.status_dir.as_os_str().is_empty() {
        tasks.spawn(control::listen(config.status_dir.clone(), ordering));
    }
    let program = config.exec.clone();
    let mut agent = Agent {
        mode: if once && program.is_none() { Mode::Once } else { Mode::Sidecar },
        items,
        dependencies: Dependencies::new(),
        clock,
        jitter,
        status: status::read(&config.status_dir).unwrap_or_default(),
        started: Instant::now(),
        metrics,
        admin,
        token,
        environment,
        heard,
        told: false,
        nudges: if program.is_some() { Nudges::default() } else { Nudges::new() },
        refused: BTreeSet::new(),
        orders,
        ordered: Vec::new(),
        written: 0,
        actions: JoinSet::new(),
        config,
    };
    env!("CARGO_PKG_VERSION").clone_into(&mut agent.status.version);
    let ended = {
        let child = async {
            match &program {
                Some(program) => exec::supervise(program, environments, shutdown.clone()).await,
                None => {
                    shutdown.cancelled().await;
                    Ok(0)
                }
            }
        };
        let mut child = std::pin::pin!(child);
        tokio::select! {
            outcome = agent.work() => {
                if outcome.is_err() && program.is_some() {
                    // It gets its time to end.
                    shutdown.cancel();
                    let _ = child.await;
                }
                return outcome.map(|()| { info!("all items are rendered"); 0 });
            }
            ended = &mut child => ended,
        }
    };
    if agent.config.revoke_on_exit {
        agent.revoke().await;
    }
    ended
}

impl Agent {
    async fn work(&mut self) -> Result<(), Failure> {
        let mut session = self.log_in().await?;
        self.publish(&session).await?;
        let mut complete = false;
        loop {
            if session.keep().await {
                self.metrics.login(true);
                self.keep_publishing(&session).await;
            }
            let news = self.render(complete)?;
            if !news && self.status.rendered && !complete {
                complete = true;
                self.admin.set_ready(true);
            }
            self.write_status();
            self.answer_orders();
            if complete && self.mode == Mode::Once {
                while self.actions.join_next().await.is_some() {}
                return Ok(());
            }
            self.judge(complete)?;
            self.rest(&session, complete).await;
            if self.advance(&session).await && session.refused().await {
                self.metrics.login(true);
                self.keep_publishing(&session).await;
                for dependency in self.dependencies.values_mut().filter(|dependency| denied(dependency)) {
                    dependency.hurry();
                }
            }
        }
    }

    async fn log_in(&self) -> Result<Session, Failure> {
        let mut session = Session::new(&self.config.server, &self.config.auth, &self.jitter)?;
        let mut failures = 0;
        loop {
            let failure = match session.log_in().await {
                Ok(()) => {
                    self.metrics.login(true);
                    return Ok(session);
                }
                Err(failure) => failure,
            };
            self.metrics.login(false);
            // After a restart the files are there: the application must not lose its sidecar for an outage.
            let patient = self.status.rendered && self.mode == Mode::Sidecar && !self.config.auth.exit_on_error;
            let late = self.config.auth.exit_on_error || self.started.elapsed() > self.patience(failure.class);
            if !patient && late {
                return Err(failure);
            }
            failures += 1;
            let auth = &self.config.auth;
            let least = auth.min_backoff.unwrap_or_default();
            let wait = self.jitter.after_failures(failures).min(auth.max_backoff.unwrap_or(Duration::MAX)).max(least);
            warn!(reason = %failure, retry_in_seconds = wait.as_secs_f64(), "cannot log in");
            tokio::time::sleep(wait).await;
        }
    }

    /// Tells everybody about the token.
    async fn publish(&self, session: &Session) -> Result<(), Failure> {
        self.token.send_replace(Some(session.client().clone()));
        sinks::write(&self.config, session.client()).await
    }

    async fn keep_publishing(&self, session: &Session) {
        if let Err(failure) = self.publish(session).await {
            warn!(reason = %failure, "the old token stays in its files");
        }
    }

    fn patience(&self, class: Class) -> Duration {
        match class {
            Class::Config | Class::Template => Duration::ZERO,
            // Where trying has no end, it has none for refusals either.
            Class::Auth | Class::Denied | Class::NotFound if self.config.init_timeout < LONG => {
                PATIENCE.min(self.config.init_timeout)
            }
            _ => self.config.init_timeout,
        }
    }

    fn write_status(&self) {
        if let Err(error) = status::write(&self.config.status_dir, &self.status) {
            warn!(%error, "cannot write the status file");
        }
    }

    /// Is it time to give up?
    fn judge(&self, complete: bool) -> Result<(), Failure> {
        let patient = self.status.rendered && self.mode == Mode::Sidecar;
        for dependency in self.dependencies.values() {
            let Some(failure) = dependency.failure() else { continue };
            let late = !complete && !patient && self.started.elapsed() > self.patience(failure.class);
            if late || self.config.give_up_after.is_some_and(|most| dependency.failures() > most) {
                return Err(failure.clone());
            }
        }
        Ok(())
    }

    /// Does what is due, all at once. True if something was refused.
    async fn advance(&mut self, session: &Session) -> bool {
        let round = Round {
            client: session.client(),
            who: session.who(),
            clock: &*self.clock,
            jitter: &self.jitter,
            refresh: self.refresh(),
        };
        let now = Instant::now();
        let due = self.dependencies.values_mut().filter(|dependency| dependency.due().is_some_and(|due| due <= now));
        let metrics = &self.metrics;
        join_all(due.map(|dependency| async move {
            dependency.advance(round).await;
            metrics.request(dependency.item(), dependency.failure().is_none());
            denied(dependency)
        }))
        .await
        .contains(&true)
    }

    async fn revoke(&self) {
        let Ok(session) = Session::login(&self.config.server, &self.config.auth, &self.jitter).await else {
            warn!("cannot log in to revoke; the server revokes when the pod is gone");
            return;
        };
        for lease in self.dependencies.values().filter_map(Dependency::lease_id) {
            match session.client().revoke_lease(lease).await {
                Ok(()) => info!(lease, "revoked"),
                Err(error) => warn!(lease, %error, "not revoked; the server revokes when the pod is gone"),
            }
        }
    }
}

fn denied(dependency: &Dependency) -> bool {
    dependency.failure().is_some_and(|failure| failure.class == Class::Denied)
}
