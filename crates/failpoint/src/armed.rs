//! What a failpoint does, by the folder.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// Time between two looks at whether a pause is over.
const LOOK: Duration = Duration::from_millis(5);

/// What the file of a failpoint says.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Abort { at: u64 },
    Sleep(Duration),
    Pause,
    Nothing,
}

fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os(super::FOLDER).map(PathBuf::from)).as_deref()
}

/// Does what the file of this name says.
pub async fn pass(name: &'static str) {
    let Some(file) = folder().map(|folder| folder.join(name)) else { return };
    let Ok(text) = fs::read_to_string(&file) else { return };
    let action = Action::read(&text);
    if let Action::Abort { at } = action
        && came_by(name) < at
    {
        return;
    }
    // A test that waits for it fails by itself if it cannot be written.
    let _ = fs::write(file.with_added_extension("hit"), "");
    match action {
        Action::Abort { .. } => std::process::abort(),
        Action::Sleep(time) => tokio::time::sleep(time).await,
        Action::Pause => {
            while file.exists() {
                tokio::time::sleep(LOOK).await;
            }
        }
        Action::Nothing => {}
    }
}

/// Is there a file of this name?
pub fn is_switched(name: &'static str) -> bool {
    folder().is_some_and(|folder| folder.join(name).exists())
}

/// How often this was asked for the name, with this time.
fn came_by(name: &'static str) -> u64 {
    static COUNTS: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts.get_or_insert_default().entry(name).or_default();
    *count += 1;
    *count
}

impl Action {
    fn read(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let (verb, number) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        match verb {
            Some("abort") => Self::Abort { at: number.unwrap_or(1) },
            Some("sleep") => Self::Sleep(Duration::from_millis(number.unwrap_or(0))),
            Some("pause") => Self::Pause,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_words() {
        for (text, action) in [
            ("abort\n", Action::Abort { at: 1 }),
            ("abort 3", Action::Abort { at: 3 }),
            ("sleep 250", Action::Sleep(Duration::from_millis(250))),
            ("pause", Action::Pause),
            ("", Action::Nothing),
        ] {
            assert_eq!(Action::read(text), action, "{text:?}");
        }
    }
}
