//! The replica that works at a database, and whether it still may.
//!
//! What a replica begins there is told by its sessions, which carry its id as `application_name`: whoever takes over what
//! it left ends these first. Before each statement that changes something it makes sure that the store still knows it by
//! that id, so that one that was paused sends nothing on waking.

use holdfast_logical::View;

use crate::postgres::Failure;

/// A member of the cluster, at the time when something was begun.
#[derive(Clone)]
pub(crate) struct Member {
    view: View,
    id: Option<String>,
}

impl Member {
    /// The one that this replica is now.
    pub fn now(view: &View) -> Self {
        Self { view: view.clone(), id: view.member() }
    }

    /// Fails unless this replica is still that member, for all that the store has said lately.
    pub fn check(&self) -> Result<(), Failure> {
        match &self.id {
            Some(id) if self.view.member().as_ref() == Some(id) => Ok(()),
            _ => Err(Failure::Doubtful),
        }
    }

    /// `application_name` of its sessions.
    pub fn application_name(&self) -> String {
        application_name(self.id.as_deref().unwrap_or_default())
    }
}

/// `application_name` of the sessions of a member.
pub(crate) fn application_name(id: &str) -> String {
    if id.is_empty() { "holdfast".to_owned() } else { format!("holdfast/{id}") }
}
