//! The rows of everything that is mounted, for the OpenAPI document and the reference.

use std::collections::BTreeMap;

use holdfast_logical::Row;

use crate::{
    Class, Core, lifecycle,
    mounts::{Mounted, Target},
};

/// A mount and its rows.
pub struct Section {
    /// Secret engine or auth method.
    pub class: Class,
    /// Type name.
    pub kind: String,
    /// Full path: `sys/`, `auth/approle/`.
    pub path: String,
    /// Options: `{"version": "2"}`.
    pub options: BTreeMap<String, String>,
    /// In the order in which they are tried.
    pub rows: Vec<&'static Row>,
}

impl Core {
    /// All mounts of an unsealed server, by path.
    pub fn reference(&self) -> Vec<Section> {
        let Some(open) = self.open() else { return Vec::new() };
        let router = open.mounts.cached();
        let sections = router.all().map(|mounted| Section {
            class: mounted.record.class,
            kind: mounted.record.kind.clone(),
            path: mounted.record.full_path(),
            options: mounted.record.options.clone(),
            rows: rows(mounted),
        });
        sections.collect()
    }
}

/// The rows of a mount; of `sys/` also those that need no unsealed server.
pub(crate) fn rows(mounted: &Mounted) -> Vec<&'static Row> {
    match &mounted.target {
        Target::Engine(backend) => backend.paths().iter().collect(),
        Target::Broken(_) => Vec::new(),
        Target::Core(nouns) => {
            let bare: &[Row] = if mounted.record.kind == "system" { lifecycle::paths::ROWS } else { &[] };
            bare.iter().chain(nouns.iter().flat_map(|noun| noun.rows)).collect()
        }
    }
}
