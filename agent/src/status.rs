//! `status.json`: for the probe, and for whoever looks into the pod. Holds no secrets.

use std::{collections::BTreeMap, path::Path};

use holdfast_base::Timestamp;
use holdfast_secret::SecretString;
use serde::{Deserialize, Serialize};

use crate::files::{self, Change};

/// Name of the file.
pub const FILE: &str = "status.json";

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Are all items there? Stays true.
    pub rendered: bool,
    /// Version of the agent.
    pub version: String,
    /// By item name.
    pub items: BTreeMap<String, ItemStatus>,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemStatus {
    /// How far the file can be trusted.
    pub state: State,
    /// When its content changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// When its credential ends, if it is leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Why it is not fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a file can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// As the server has it.
    Fresh,
    /// The last value; the server cannot be asked at the moment.
    Stale,
    /// Its lease has ended.
    Expired,
    /// Not written yet.
    #[default]
    Waiting,
}

/// Writes the file, if it changes.
pub fn write(dir: &Path, status: &Status) -> std::io::Result<()> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string_pretty(status)? + "\n";
    let path = dir.join(FILE);
    if files::holds(&path, &text, 0o644) {
        return Ok(());
    }
    files::swap(&[Change { path, mode: 0o644, text: SecretString::new(text), ..Change::default() }])
}

/// Reads the file; `None` when there is none.
pub fn read(dir: &Path) -> Option<Status> {
    if dir.as_os_str().is_empty() {
        return None;
    }
    serde_json::from_slice(&std::fs::read(dir.join(FILE)).ok()?).ok()
}

/// Are all items written?
pub fn is_ready(dir: &Path) -> bool {
    read(dir).is_some_and(|status| status.rendered)
}
