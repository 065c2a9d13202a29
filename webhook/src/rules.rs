//! What the administrator says, as of now: files that change while the webhook runs, read anew for every pod.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{mutate::Settings, profile::Document};

/// Settings and document of one moment.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Of the release.
    pub settings: Settings,
    /// Servers and profiles.
    pub document: Arc<Document>,
}

/// Where they come from.
pub struct Source {
    settings: Settings,
    server_ca_file: Option<PathBuf>,
    profiles_file: Option<PathBuf>,
    /// The document's text, and what it says.
    known: Mutex<(String, Arc<Document>)>,
}

impl Source {
    /// Reads both files. The server's CA need not be there yet: a cluster may still make it.
    ///
    /// # Errors
    /// When the profiles cannot be read or make no sense.
    pub fn new(
        settings: Settings,
        server_ca_file: Option<PathBuf>,
        profiles_file: Option<PathBuf>,
    ) -> Result<Self, String> {
        let source = Self { settings, server_ca_file, profiles_file, known: Mutex::default() };
        if let Some(path) = &source.profiles_file {
            let text = read(path)?;
            let document = Document::parse(&text).map_err(|reason| format!("{}: {reason}", path.display()))?;
            *source.known.lock() = (text, Arc::new(document));
        }
        Ok(source)
    }

    /// The rules for the next pod.
    ///
    /// # Errors
    /// When the server's CA cannot be read: an agent without it could not start.
    pub fn now(&self) -> Result<Rules, String> {
        let mut settings = self.settings.clone();
        if let Some(path) = &self.server_ca_file {
            settings.server_ca = Some(read(path)?.trim().to_owned() + "\n");
        }
        Ok(Rules { settings, document: self.document() })
    }

    /// The document of the file; the last good one where the file makes no sense.
    fn document(&self) -> Arc<Document> {
        let mut known = self.known.lock();
        let Some(path) = &self.profiles_file else { return known.1.clone() };
        match read(path) {
            Ok(text) if text == known.0 => {}
            Ok(text) => {
                match Document::parse(&text) {
                    Ok(document) => {
                        info!(profiles = document.profiles.len(), servers = document.servers.len(), "new profiles");
                        known.1 = Arc::new(document);
                    }
                    Err(reason) => {
                        warn!(reason, file = %path.display(), "the profiles make no sense; those of before stay");
                    }
                }
                known.0 = text;
            }
            Err(reason) => warn!(reason, "cannot read the profiles; those of before stay"),
        }
        known.1.clone()
    }
}

fn read(path: &std::path::Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_makes_no_sense_leaves_the_one_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(r#"{"profiles": {"default": {"strict": true}}}"#);
        let source = Source::new(Settings::default(), None, Some(path.clone())).unwrap();
        let strict = || source.now().unwrap().document.profiles.get("default").map(|profile| profile.strict);
        assert_eq!(strict(), Some(true));
        write(r#"{"profiles": {"default": {"stirct": true}}}"#);
        assert_eq!(strict(), Some(true));
        write(r#"{"profiles": {"default": {}}}"#);
        assert_eq!(strict(), Some(false));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(strict(), Some(false));
        write("{}");
        assert_eq!(strict(), None);
        assert!(Source::new(Settings::default(), None, Some(folder.path().join("absent"))).is_err());
    }
}
