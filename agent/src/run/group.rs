//! Items whose files belong together, since they show the same credential: a certificate is not written without its key.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use holdfast_client::certificate::Keys;
use tracing::debug;

use crate::{
    files::{self, Change, folder::Folder},
    items::Prepared,
};

/// What an item has become.
pub(super) struct Made {
    /// Of the item.
    pub(super) index: usize,
    /// Was its file there before?
    pub(super) existed: bool,
    /// All its files.
    pub(super) files: Vec<Change>,
}

/// Items that share a credential.
#[derive(Default)]
pub(super) struct Group {
    /// Those that could be rendered.
    pub(super) made: Vec<Made>,
    /// Those that could not.
    absent: Vec<usize>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Batch {
    /// Files by themselves.
    pub(super) changes: Vec<Change>,
    /// Certificates with their keys.
    pub(super) folders: Vec<Folder>,
    /// Which items changed, and whether their file was there before.
    pub(super) changed: Vec<(usize, bool)>,
}

/// Puts together what shows the same.
pub(super) fn together(items: &[Prepared], made: Vec<Made>) -> Vec<Group> {
    let mut group_of: Vec<usize> = (0..items.len()).collect();
    for (index, item) in items.iter().enumerate() {
        for other in 0..index {
            let (one, two) = (group_of[other], group_of[index]);
            if one != two && !item.calls.is_disjoint(&items[other].calls) {
                group_of.iter_mut().filter(|group| **group == two).for_each(|group| *group = one);
            }
        }
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    let absent = (0..items.len()).filter(|index| made.iter().all(|made| made.index != *index));
    absent.for_each(|index| groups.entry(group_of[index]).or_default().absent.push(index));
    made.into_iter().for_each(|made| groups.entry(group_of[made.index]).or_default().made.push(made));
    groups.into_values().collect()
}

/// Where a file is to be.
pub(super) fn folder_of(change: &Change) -> &Path {
    change.path.parent().unwrap_or(Path::new("/"))
}

impl Group {
    fn files(&self) -> impl Iterator<Item = &Change> {
        self.made.iter().flat_map(|made| &made.files)
    }

    /// Says which files would be the key of another certificate, counting files that stay as they are. Files are a pair whose
    /// names differ in their ending only: a folder may well have the key of one and the certificate of somebody else.
    pub(super) fn mismatch(&self, items: &[Prepared]) -> Option<String> {
        let mut pairs: BTreeMap<PathBuf, Keys> = BTreeMap::new();
        for file in self.files() {
            pairs.entry(file.path.with_extension("")).or_default().add(file.text.expose());
        }
        for item in self.absent.iter().map(|index| &items[*index].item).filter(|item| item.variable.is_none()) {
            let keys = pairs.get_mut(&item.file.with_extension(""));
            if let (Some(keys), Ok(text)) = (keys, std::fs::read_to_string(&item.file)) {
                keys.add(&text);
            }
        }
        let (pair, _) = pairs.iter().find(|(_, keys)| keys.do_not_fit())?;
        let names: Vec<_> = self.made.iter().map(|made| items[made.index].item.name.as_str()).collect();
        Some(format!("{}: the private key in {}.* is not the certificate's", names.join(", "), pair.display()))
    }

    /// The folders that have a certificate and its key in files of their own, and nothing else.
    fn folders(&self, items: &[Prepared]) -> Vec<&Path> {
        let mut folders: BTreeMap<&Path, (Keys, usize)> = BTreeMap::new();
        for file in self.files() {
            let (keys, files) = folders.entry(folder_of(file)).or_default();
            keys.add(file.text.expose());
            *files += 1;
        }
        let mine = |index: usize| self.made.iter().any(|made| made.index == index);
        let foreign = |folder: &Path| {
            let others = items.iter().enumerate().filter(|(index, _)| !mine(*index));
            others.into_iter().any(|(_, item)| item.item.variable.is_none() && item.item.file.parent() == Some(folder))
        };
        let pairs = folders.into_iter().filter(|(folder, (keys, files))| {
            let made = self.made.iter().any(|made| items[made.index].item.folder_must_exist) && !folder.exists();
            *files > 1 && keys.is_pair() && !foreign(folder) && !made
        });
        pairs.map(|(folder, _)| folder).collect()
    }
}

impl Batch {
    /// All that differs from what is there.
    pub(super) fn of(items: &[Prepared], groups: Vec<Group>) -> Self {
        let mut batch = Self::default();
        for group in groups {
            let folders: Vec<_> = group.folders(items).into_iter().map(Path::to_owned).collect();
            let mut folders: Vec<_> = folders.into_iter().map(|path| Folder { path, files: Vec::new() }).collect();
            for Made { index, existed, files } in group.made {
                if files.iter().any(differs) {
                    batch.changed.push((index, existed));
                }
                for file in files {
                    match folders.iter_mut().find(|folder| folder.path == folder_of(&file)) {
                        Some(folder) => folder.files.push(file),
                        None => batch.changes.extend(Some(file).filter(differs)),
                    }
                }
            }
            for folder in folders {
                if !folder.files.iter().any(differs) {
                    if let Err(error) = folder.tidy() {
                        debug!(%error, folder = %folder.path.display(), "earlier files stay");
                    }
                    continue;
                }
                if folder.is_owned() {
                    batch.folders.push(folder);
                } else {
                    batch
                        .changes
                        .extend(folder.files.into_iter().filter(|file| file.path.is_symlink() || differs(file)));
                }
            }
        }
        batch
    }
}

/// Is this another content than the file has?
fn differs(change: &Change) -> bool {
    !files::holds(&change.path, change.text.expose(), change.mode)
}
