//! The token helper: `~/.vault-token`, which other Vault clients read as well.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use holdfast_secret::SecretString;

/// The file in a home folder.
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// In this folder.
    pub fn in_home(home: &Path) -> Self {
        Self(home.join(".vault-token"))
    }

    /// The stored token; `None` if there is none.
    pub fn read(&self) -> io::Result<Option<SecretString>> {
        match fs::read_to_string(&self.0) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some(SecretString::new(text.trim()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a token, readable for its owner only. The file is replaced whole: never half a token, never wider rights.
    pub fn write(&self, token: &SecretString) -> io::Result<()> {
        let new = self.0.with_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(token.expose().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let file = TokenFile::in_home(home.path());
        assert!(file.read().unwrap().is_none());
        let path = home.path().join(".vault-token");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        file.write(&SecretString::new("hvs.x")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.read().unwrap().unwrap().expose(), "hvs.x");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left behind");
    }
}
