//! What the process does to itself: nothing of its memory may end up in a file, and it can be found by its id.

use std::path::{Path, PathBuf};

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask},
};
use tracing::warn;

/// Whatever the process makes is its user's alone, whatever it was started with (CVE-2021-38553). Before there are threads.
pub fn private_files() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Turns off core dumps, and reading of the memory by other processes of the same user. What the system refuses is a
/// warning: a server that cannot do this is still better than none.
pub fn harden() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%error, "core dumps cannot be turned off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "the process cannot be made non-dumpable");
    }
}

/// A file with the process id, as long as this value lives.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    pub fn write(path: &Path) -> std::io::Result<Self> {
        std::fs::write(path, format!("{}\n", std::process::id()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            warn!(file = %self.0.display(), %error, "the pid file cannot be removed");
        }
    }
}
