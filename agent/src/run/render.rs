//! Items into files and variables, and what is done after they have changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use holdfast_secret::SecretString;
use holdfast_template::Call;
use tracing::{debug, info, warn};

use super::{
    Agent,
    group::{Batch, Group, Made, folder_of, together},
};
use crate::{
    action::Action,
    config::Item,
    dependency::Dependency,
    exec::Environment,
    failure::{Class, Failure},
    files::{self, folder},
    items::{NoText, Rendered},
    status::{ItemStatus, State},
};

impl Agent {
    /// Renders all items and writes those that differ from their files. True if there is something new to read first.
    pub(super) fn render(&mut self, told: bool) -> Result<bool, Failure> {
        let mut made = Vec::new();
        let mut variables = BTreeMap::new();
        let (mut news, mut all) = (false, true);
        for index in 0..self.items.len() {
            let item = &mut self.items[index];
            let name = item.item.name.clone();
            match item.render(&self.dependencies, &*self.clock) {
                Ok(Rendered { text, mut written }) => {
                    let existed = item.item.file.exists();
                    if let Some(variable) = &item.item.variable {
                        variables.insert(variable.clone(), text);
                    } else {
                        written.insert(0, item.change(text));
                    }
                    made.push(Made { index, existed, files: written });
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
        let groups = self.refuse_mismatches(together(&self.items, made), told)?;
        all &= self.refused.is_empty();
        let Batch { changes, folders, changed } = Batch::of(&self.items, groups);
        if let Err(error) = files::swap_with(&changes, &folders) {
            let failure = Failure::new(Class::Template, format!("cannot write: {error}"));
            if !told {
                return Err(failure);
            }
            warn!(reason = %failure, "keeping the old files");
            for (index, _) in changed {
                let name = self.items[index].item.name.clone();
                self.set_state(&name, Some(failure.text.clone()));
            }
            return Ok(news);
        }
        for folder in changes.iter().map(folder_of) {
            if let Err(error) = folder::leave(folder) {
                debug!(%error, folder = %folder.display(), "earlier files stay");
            }
        }
        self.written += u64::from(!changed.is_empty());
        self.after(&changed);
        if all {
            self.status.rendered = true;
            self.tell_program(variables);
        }
        Ok(news || !all)
    }

    /// Leaves out certificates with another's key: their old files stay.
    fn refuse_mismatches(&mut self, groups: Vec<Group>, told: bool) -> Result<Vec<Group>, Failure> {
        let known = std::mem::take(&mut self.refused);
        let mut good = Vec::with_capacity(groups.len());
        for group in groups {
            let Some(reason) = group.mismatch(&self.items) else {
                good.push(group);
                continue;
            };
            if !told {
                return Err(Failure::new(Class::Template, reason));
            }
            if !known.contains(&reason) {
                warn!(reason, "keeping the old files");
            }
            for made in &group.made {
                let name = self.items[made.index].item.name.clone();
                self.set_state(&name, Some(reason.clone()));
            }
            self.refused.insert(reason);
        }
        Ok(good)
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
}

/// The shortest duration that items want for the lease of a path: those that read the same share it.
fn ttl_of(items: &[Item], call: &Call) -> Option<Duration> {
    let same = |item: &&Item| item.path.as_deref().is_some_and(|path| path.trim_matches('/') == call.path);
    items.iter().filter(|_| call.args.is_empty()).filter(same).filter_map(|item| item.ttl).min()
}
