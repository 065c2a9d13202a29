//! The loop: log in, read what is due, render, write what has changed, tell the application, sleep.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use holdfast_base::{Clock, Entropy};
use holdfast_client::Client;
use holdfast_runtime::{Admin, Shutdown};
use holdfast_secret::SecretString;
use holdfast_template::Call;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    action::Action,
    backoff::Jitter,
    config::{Config, Item},
    dependency::{Dependency, Round},
    exec::{self, Environment},
    failure::{Class, Failure},
    files::{self, Change},
    hear::{self, Heard},
    items::{Dependencies, NoText, Prepared, Rendered},
    metrics::Metrics,
    nudge::{Nudge, Nudges},
    pid_file::PidFile,
    proxy,
    session::{self, Session},
    sinks,
    status::{self, ItemStatus, State, Status},
};

/// Before the first render: how long a refusal may last, since policies and roles of a new deployment may come after
/// its pods.
const PATIENCE: Duration = Duration::from_secs(10);
/// A limit to the first render that is none.
const LONG: Duration = Duration::from_secs(86_400);
/// Between reads of what the server tells the changes of.
const QUIET: Duration = Duration::from_secs(60);

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

    /// Waits until something is due, an event or a signal comes, and marks what that makes due.
    async fn rest(&mut self, session: &Session, complete: bool) {
        let due = self.next(session, complete);
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            Some(heard) = self.heard.recv() => {
                self.hear(&heard);
                while let Ok(more) = self.heard.try_recv() {
                    self.hear(&more);
                }
            }
            nudge = self.nudges.next() => match nudge {
                Nudge::ReadAgain => {
                    info!("reading everything again");
                    // What is made by a write and has no lease would be made anew: that is for the other signal.
                    let again = |known: &&mut Dependency| known.is_polled() || known.lease_id().is_some();
                    self.dependencies.values_mut().filter(again).for_each(Dependency::hurry);
                }
                Nudge::Rotate => {
                    info!("replacing every credential");
                    self.dependencies.values_mut().for_each(Dependency::rotate);
                }
                Nudge::TellState => {
                    for (item, status) in &self.status.items {
                        let (state, reason) = (status.state, status.reason.as_deref().unwrap_or_default());
                        info!(item, ?state, expires = ?status.expires, reason, "state");
                    }
                }
            },
        }
    }

    fn hear(&mut self, heard: &Heard) {
        match heard {
            Heard::Path(path) => {
                let used = self.hurry(|dependency| dependency.is_about(path));
                self.metrics.event(used);
            }
            Heard::Anything => {
                self.told = true;
                self.hurry(|dependency| dependency.envelope().is_some() && dependency.is_polled());
            }
            Heard::Nothing => {
                if std::mem::take(&mut self.told) {
                    let refresh = self.refresh();
                    self.dependencies.values_mut().for_each(|dependency| dependency.no_later(refresh));
                }
            }
        }
    }

    /// Makes those due now that it is about; a failing one waits as it should. True if there is one.
    fn hurry(&mut self, about: impl Fn(&Dependency) -> bool) -> bool {
        let mut used = false;
        for dependency in self.dependencies.values_mut().filter(|dependency| dependency.failures() == 0) {
            if about(dependency) {
                dependency.hurry();
                used = true;
            }
        }
        used
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
            let most = self.config.auth.max_backoff.unwrap_or(Duration::MAX);
            let wait = self.jitter.after_failures(failures).min(most);
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

    /// Renders all items and writes those that differ from their files. True if there is something new to read first.
    fn render(&mut self, told: bool) -> Result<bool, Failure> {
        let mut changes = Vec::new();
        let mut changed = Vec::new();
        let mut variables = BTreeMap::new();
        let (mut news, mut all) = (false, true);
        for index in 0..self.items.len() {
            let item = &mut self.items[index];
            let name = item.item.name.clone();
            match item.render(&self.dependencies, &*self.clock) {
                Ok(Rendered { text, written }) => {
                    let before = changes.len();
                    let existed = item.item.file.exists();
                    if let Some(variable) = &item.item.variable {
                        variables.insert(variable.clone(), text);
                    } else {
                        changes.extend(Some(item.change(text)).into_iter().filter(differs));
                    }
                    changes.extend(written.into_iter().filter(differs));
                    if changes.len() > before {
                        changed.push((index, existed));
                    }
                    self.set_state(&name, None);
                }
                Err(NoText::Missing(calls)) => {
                    all = false;
                    for call in calls {
                        news |= !self.dependencies.contains_key(&call);
                        let ttl = ttl_of(&self.config.items, &call);
                        self.dependencies.entry(call.clone()).or_insert_with(|| Dependency::new(call, &name, ttl));
                    }
                    self.set_state(&name, None);
                }
                Err(NoText::Failed(failure)) => {
                    if !told {
                        return Err(failure);
                    }
                    all = false;
                    self.set_state(&name, Some(failure.text));
                }
            }
        }
        if let Err(error) = files::swap(&changes) {
            let failure = Failure::new(Class::Template, format!("cannot write: {error}"));
            if !told {
                return Err(failure);
            }
            warn!(reason = %failure, "keeping the old files");
            return Ok(news);
        }
        self.written += u64::from(!changes.is_empty());
        self.after(&changed);
        if all {
            self.status.rendered = true;
            self.tell_program(variables);
        }
        Ok(news || !all)
    }

    /// Gives the program its variables, if they or files have changed.
    fn tell_program(&self, variables: BTreeMap<String, SecretString>) {
        if self.config.exec.is_none() {
            return;
        }
        let new = Environment { variables, files: self.written };
        let same = self.environment.borrow().as_ref().is_some_and(|known| known.is_same(&new));
        if !same {
            self.environment.send_replace(Some(Arc::new(new)));
        }
    }

    /// Notes what changed, and starts the actions of files that were there before, and programs in any case: each action
    /// once.
    fn after(&mut self, changed: &[(usize, bool)]) {
        let mut started: BTreeSet<String> = BTreeSet::new();
        for (index, existed) in changed {
            let item = &self.items[*index].item;
            info!(item = item.name, file = %item.file.display(), "written");
            self.metrics.changed(&item.name);
            if let Some(status) = self.status.items.get_mut(&item.name) {
                status.changed = Some(self.clock.now());
            }
            for action in item.on_change.iter().filter(|action| *existed || matches!(action, Action::Exec { .. })) {
                let text = String::from(action.clone());
                let own = matches!(action, Action::Touch { file: None });
                if started.insert(if own { format!("{text}:{}", item.name) } else { text.clone() }) {
                    let (action, name) = (action.clone(), item.name.clone());
                    let (dir, jitter) = (self.config.status_dir.clone(), self.jitter.clone());
                    let metrics = self.metrics.clone();
                    while self.actions.try_join_next().is_some() {}
                    self.actions.spawn(async move {
                        let outcome = action.run(&name, &dir, &jitter).await;
                        metrics.action(&name, outcome.is_ok());
                        match outcome {
                            Ok(()) => info!(item = name, action = text, "application told"),
                            Err(error) => warn!(item = name, action = text, reason = %error, "application not told"),
                        }
                    });
                }
            }
        }
    }

    fn set_state(&mut self, name: &str, failed: Option<String>) {
        let Some(item) = self.items.iter().find(|item| item.item.name == name) else { return };
        let used: Vec<&Dependency> = item.calls.iter().filter_map(|call| self.dependencies.get(call)).collect();
        let now = self.clock.now();
        let mut state = used.iter().map(|dependency| dependency.state(now)).max().unwrap_or_default();
        if item.calls.is_empty() {
            state = State::Fresh;
        }
        if failed.is_some() {
            state = state.max(State::Stale);
        }
        let reason = failed.or_else(|| used.iter().find_map(|used| used.failure().map(|failure| failure.text.clone())));
        let expires = used.iter().filter_map(|dependency| dependency.expires()).min();
        let changed = self.status.items.get(name).and_then(|status| status.changed);
        let status = ItemStatus { state, changed, expires, reason };
        self.metrics.item(name, &status, now);
        self.status.items.insert(name.to_owned(), status);
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

    fn next(&self, session: &Session, complete: bool) -> Instant {
        let now = Instant::now();
        let dues = self.dependencies.values().filter_map(Dependency::due).chain(session.due());
        let due = dues.min().unwrap_or_else(|| now + Duration::from_secs(3600));
        if complete {
            return due;
        }
        // Gives up when the time has come, and not at the retry after it.
        let failures = self.dependencies.values().filter_map(Dependency::failure);
        let ends = failures.map(|failure| self.started + self.patience(failure.class) + Duration::from_millis(1));
        ends.filter(|end| *end > now).fold(due, Instant::min)
    }

    /// Until what has no lease is read again.
    fn refresh(&self) -> Duration {
        if self.told && !self.config.refresh_always {
            return self.jitter.around(self.config.refresh.max(QUIET), 1.0);
        }
        self.config.refresh
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

/// Is this another content than the file has?
fn differs(change: &Change) -> bool {
    !files::holds(&change.path, change.text.expose(), change.mode)
}

/// The shortest duration that items want for the lease of a path: those that read the same share it.
fn ttl_of(items: &[Item], call: &Call) -> Option<Duration> {
    let same = |item: &&Item| item.path.as_deref().is_some_and(|path| path.trim_matches('/') == call.path);
    items.iter().filter(|_| call.args.is_empty()).filter(same).filter_map(|item| item.ttl).min()
}

fn denied(dependency: &Dependency) -> bool {
    dependency.failure().is_some_and(|failure| failure.class == Class::Denied)
}
