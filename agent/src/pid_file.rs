//! `pid_file`: holds the process id while the agent runs.

use std::{fs, path::PathBuf};

use crate::failure::{Class, Failure};

/// The file; removed when dropped.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    pub fn write(path: PathBuf) -> Result<Self, Failure> {
        fs::write(&path, std::process::id().to_string())
            .map_err(|error| Failure::new(Class::Config, format!("pid_file {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Whoever finds it finds no such process.
        let _ = fs::remove_file(&self.0);
    }
}
