//! Small models of how replicas agree, each explored in full: every order in which its steps can happen.
//!
//! `README.md` says which invariant is where, what a model leaves out, and which lines of code a mutation changes.

pub mod cache;
pub mod clock;
pub mod explore;
pub mod gate;
pub mod intents;
pub mod lanes;
pub mod level;
pub mod room;

/// The protocol made wrong on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// As in `switched!("mutant.<name>")`.
    pub name: &'static str,
    /// The invariant that falls first.
    pub breaks: &'static str,
    /// The code can be made wrong in this way too, to see whether other tests find it.
    pub switched: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use crate::explore::{Model, explore};
    use crate::*;

    /// A model of more states is too large for `make test`.
    const MOST: usize = 4_000_000;
    /// Another change adds it to the code.
    const COMING: &str = "forget-abandoned-intent";

    /// No state breaks anything.
    pub fn holds(name: &str, model: &impl Model) {
        let start = Instant::now();
        let all = explore(model, MOST).unwrap();
        println!("{name}: {all}, {:.1} s", start.elapsed().as_secs_f32());
        assert!(all.violation.is_none(), "{name}: {all}");
    }

    /// Each mutation breaks what it is said to break.
    pub fn breaks<M: Model>(mutations: &[Mutation], model: impl Fn(&'static str) -> M) {
        for Mutation { name, breaks, .. } in mutations {
            let seen = explore(&model(name), MOST).unwrap();
            println!("{name}: {seen}");
            assert_eq!(seen.violation.map(|violation| violation.invariant), Some(*breaks), "{name}");
        }
    }

    /// A file of the repository.
    pub fn source(path: &str) -> String {
        std::fs::read_to_string(root().join(path)).unwrap()
    }

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn mutations() -> impl Iterator<Item = &'static Mutation> {
        let coherence = [cache::MUTATIONS, clock::MUTATIONS, gate::MUTATIONS, lanes::MUTATIONS];
        coherence.into_iter().chain([intents::MUTATIONS, level::MUTATIONS, room::MUTATIONS]).flatten()
    }

    /// Names of all switches below a folder.
    fn switches(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                switches(&entry.path(), names);
            } else {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let found = text.split("switched!(\"mutant.").skip(1).filter_map(|rest| rest.split('"').next());
                names.extend(found.map(str::to_owned));
            }
        }
    }

    #[test]
    fn the_mutations_are_those_of_the_code() {
        let mut code = BTreeSet::new();
        switches(&root().join("crates/barrier/src"), &mut code);
        switches(&root().join("crates/core/src"), &mut code);
        code.insert(COMING.to_owned());
        let here: BTreeSet<_> = mutations().filter(|one| one.switched).map(|one| one.name.to_owned()).collect();
        assert_eq!(here, code);
        assert_eq!(here.len(), 13);
    }

    #[test]
    fn the_readme_names_every_mutation() {
        let readme = source("docs/models/README.md");
        let missing: Vec<_> = mutations().filter(|one| !readme.contains(&format!("`{}`", one.name))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
