//! The loop: log in, read what is due, render, write what has changed, tell the application, sleep.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use holdfast_base::{Clock, Entropy};
use holdfast_client::Client;
use holdfast_runtime::Shutdown;
use holdfast_secret::SecretString;
use holdfast_template::Call;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    action::Action,
    backoff::Jitter,
    config::{Config, Item},
    dependency::{Dependency, Round},
    failure::{Class, Failure},
    files::{self, Change},
    items::{Dependencies, NoText, Prepared},
    session::{self, Session},
    status::{self, ItemStatus, State, Status},
};

/// Before the first render: how long a refusal may last, since policies and roles of a new deployment may come after
/// its pods.
const PATIENCE: Duration = Duration::from_secs(10);

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
}

/// Runs until the shutdown, the first render ([`Mode::Once`]), or a failure before the first render.
pub async fn run(
    config: Config,
    mode: Mode,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let items = config.items.iter().cloned().map(Prepared::new).collect::<Result<Vec<_>, _>>()?;
    let client = session::connect(&config.server)?;
    let mut agent = Agent {
        mode,
        items,
        dependencies: Dependencies::new(),
        clock,
        jitter: Jitter::new(entropy),
        status: status::read(&config.status_dir).unwrap_or_default(),
        started: Instant::now(),
        config,
    };
    env!("CARGO_PKG_VERSION").clone_into(&mut agent.status.version);
    tokio::select! {
        outcome = agent.work(&client) => outcome.map(|()| info!("all items are rendered")),
        () = shutdown.cancelled() => {
            if agent.config.revoke_on_exit {
                agent.revoke(&client).await;
            }
            Ok(())
        }
    }
}

impl Agent {
    async fn work(&mut self, client: &Client) -> Result<(), Failure> {
        let mut session = self.log_in(client).await?;
        self.write_token(&session)?;
        let mut complete = false;
        loop {
            if session.keep().await {
                self.write_token(&session)?;
            }
            let news = self.render(complete)?;
            if !news && self.status.rendered && !complete {
                complete = true;
            }
            self.write_status();
            if complete && self.mode == Mode::Once {
                return Ok(());
            }
            if !complete {
                self.judge()?;
            }
            tokio::time::sleep_until(self.next(&session, complete)).await;
            if self.advance(&session).await && session.refused().await {
                self.write_token(&session)?;
                for dependency in self.dependencies.values_mut().filter(|dependency| denied(dependency)) {
                    dependency.hurry();
                }
            }
        }
    }

    async fn log_in(&self, client: &Client) -> Result<Session, Failure> {
        let mut failures = 0;
        loop {
            let failure = match Session::login(client, &self.config.auth, &self.jitter).await {
                Ok(session) => return Ok(session),
                Err(failure) => failure,
            };
            // After a restart the files are there: the application must not lose its sidecar for an outage.
            let patient = self.status.rendered && self.mode == Mode::Sidecar;
            if !patient && self.started.elapsed() > self.patience(failure.class) {
                return Err(failure);
            }
            failures += 1;
            let wait = self.jitter.after_failures(failures);
            warn!(reason = %failure, retry_in_seconds = wait.as_secs_f64(), "cannot log in");
            tokio::time::sleep(wait).await;
        }
    }

    fn patience(&self, class: Class) -> Duration {
        match class {
            Class::Config | Class::Template => Duration::ZERO,
            Class::Auth | Class::Denied | Class::NotFound => PATIENCE.min(self.config.init_timeout),
            Class::Away => self.config.init_timeout,
        }
    }

    /// Renders all items and writes those that differ from their files. True if there is something new to read first.
    fn render(&mut self, told: bool) -> Result<bool, Failure> {
        let mut changes = Vec::new();
        let mut changed = Vec::new();
        let (mut news, mut all) = (false, true);
        for index in 0..self.items.len() {
            let item = &mut self.items[index];
            let name = item.item.name.clone();
            match item.render(&self.dependencies, &*self.clock) {
                Ok(text) => {
                    let existed = item.item.file.exists();
                    if !files::holds(&item.item.file, text.expose(), item.mode) {
                        changes.push(Change { path: item.item.file.clone(), mode: item.mode, text });
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
        self.after(&changed);
        self.status.rendered |= all;
        Ok(news || !all)
    }

    /// Notes what changed, and starts the actions of files that were there before: each action once.
    fn after(&mut self, changed: &[(usize, bool)]) {
        let mut started: BTreeSet<String> = BTreeSet::new();
        for (index, existed) in changed {
            let item = &self.items[*index].item;
            info!(item = item.name, file = %item.file.display(), "written");
            if let Some(status) = self.status.items.get_mut(&item.name) {
                status.changed = Some(self.clock.now());
            }
            for action in item.on_change.iter().filter(|_| *existed) {
                let text = String::from(action.clone());
                let own = matches!(action, Action::Touch { file: None });
                if started.insert(if own { format!("{text}:{}", item.name) } else { text.clone() }) {
                    let (action, name) = (action.clone(), item.name.clone());
                    let (dir, jitter) = (self.config.status_dir.clone(), self.jitter.clone());
                    tokio::spawn(async move {
                        match action.run(&name, &dir, &jitter).await {
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
        let mut state = used.iter().map(|dependency| dependency.state()).max().unwrap_or_default();
        if item.calls.is_empty() {
            state = State::Fresh;
        }
        if failed.is_some() {
            state = state.max(State::Stale);
        }
        let reason = failed.or_else(|| used.iter().find_map(|used| used.failure().map(|failure| failure.text.clone())));
        let expires = used.iter().filter_map(|dependency| dependency.expires()).min();
        let changed = self.status.items.get(name).and_then(|status| status.changed);
        self.status.items.insert(name.to_owned(), ItemStatus { state, changed, expires, reason });
    }

    fn write_status(&self) {
        if let Err(error) = status::write(&self.config.status_dir, &self.status) {
            warn!(%error, "cannot write the status file");
        }
    }

    fn write_token(&self, session: &Session) -> Result<(), Failure> {
        let (Some(path), Some(token)) = (&self.config.token_file, session.client().token()) else { return Ok(()) };
        let change = Change { path: path.clone(), mode: 0o644, text: SecretString::new(token.expose()) };
        files::swap(&[change]).map_err(|error| Failure::new(Class::Template, format!("cannot write: {error}")))
    }

    /// Before the first render: is it time to give up?
    fn judge(&self) -> Result<(), Failure> {
        let patient = self.status.rendered && self.mode == Mode::Sidecar;
        for failure in self.dependencies.values().filter_map(Dependency::failure) {
            if !patient && self.started.elapsed() > self.patience(failure.class) {
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

    /// Does what is due, all at once. True if something was refused.
    async fn advance(&mut self, session: &Session) -> bool {
        let round = Round {
            client: session.client(),
            who: session.who(),
            clock: &*self.clock,
            jitter: &self.jitter,
            refresh: self.config.refresh,
        };
        let now = Instant::now();
        let due = self.dependencies.values_mut().filter(|dependency| dependency.due().is_some_and(|due| due <= now));
        join_all(due.map(|dependency| async move {
            dependency.advance(round).await;
            denied(dependency)
        }))
        .await
        .contains(&true)
    }

    async fn revoke(&self, client: &Client) {
        let Ok(session) = Session::login(client, &self.config.auth, &self.jitter).await else {
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

/// The shortest duration that items want for the lease of a path: those that read the same share it.
fn ttl_of(items: &[Item], call: &Call) -> Option<Duration> {
    let same = |item: &&Item| item.path.as_deref().is_some_and(|path| path.trim_matches('/') == call.path);
    items.iter().filter(|_| call.args.is_empty()).filter(same).filter_map(|item| item.ttl).min()
}

fn denied(dependency: &Dependency) -> bool {
    dependency.failure().is_some_and(|failure| failure.class == Class::Denied)
}
