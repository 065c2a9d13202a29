//! What the process's files are: its user's alone, and one by which it can be found.

use std::path::{Path, PathBuf};

use rustix::{fs::Mode, process::umask};
use tracing::warn;

/// Whatever the process makes is its user's alone, whatever it was started with (CVE-2021-38553). Before there are threads.
pub fn private_files() {
    umask(Mode::RWXG | Mode::RWXO);
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
