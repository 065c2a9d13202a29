//! Between two rounds: what is waited for, and what the news make due.

use std::time::Duration;

use holdfast_client::changes::Heard;
use tokio::time::Instant;
use tracing::info;

use super::Agent;
use crate::{
    control::Order,
    dependency::Dependency,
    failure::{Class, Failure},
    nudge::Nudge,
    session::Session,
};

/// Between reads of what the server tells the changes of.
const QUIET: Duration = Duration::from_secs(60);

impl Agent {
    /// Waits until something is due, an event or a signal comes, and marks what that makes due.
    pub(super) async fn rest(&mut self, session: &Session, complete: bool) {
        let due = self.next(session, complete);
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            Some(heard) = self.heard.recv() => {
                self.hear(&heard);
                while let Ok(more) = self.heard.try_recv() {
                    self.hear(&more);
                }
            }
            Some(order) = self.orders.recv() => self.take(order),
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

    /// Makes what an order is about due.
    fn take(&mut self, order: Order) {
        let calls = match &order.item {
            None => self.dependencies.keys().cloned().collect(),
            Some(name) => match self.items.iter().find(|item| item.item.name == *name) {
                Some(item) => item.calls.clone(),
                None => {
                    let names: Vec<&str> = self.items.iter().map(|item| item.item.name.as_str()).collect();
                    let text = format!("rotate: there is no item {name:?}; there are {}", names.join(", "));
                    return order.answer(Err(Failure::new(Class::NotFound, text)));
                }
            },
        };
        info!(item = order.item.as_deref().unwrap_or("*"), "replacing credentials");
        for call in &calls {
            self.dependencies.get_mut(call).into_iter().for_each(Dependency::rotate);
        }
        self.ordered.push((order, calls));
    }

    /// Says of orders what became of them: their paths have been asked for and their files written, or not.
    pub(super) fn answer_orders(&mut self) {
        for (order, calls) in std::mem::take(&mut self.ordered) {
            let about = self.items.iter().filter(|item| !item.calls.is_disjoint(&calls));
            let names: Vec<&str> = about.map(|item| item.item.name.as_str()).collect();
            let failure = calls.iter().find_map(|call| self.dependencies.get(call)?.failure());
            let reasons = names.iter().find_map(|name| self.status.items.get(*name)?.reason.as_ref());
            order.answer(match (failure, reasons) {
                (Some(failure), _) => Err(failure.clone()),
                (None, Some(reason)) => Err(Failure::new(Class::Template, reason.as_str())),
                (None, None) => Ok(format!("replaced: {}", names.join(", "))),
            });
        }
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
    pub(super) fn refresh(&self) -> Duration {
        if self.told && !self.config.refresh_always {
            return self.jitter.around(self.config.refresh.max(QUIET), 1.0);
        }
        self.config.refresh
    }
}
