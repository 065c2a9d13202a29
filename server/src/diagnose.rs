//! `holdfast operator diagnose`: would a server with this configuration start, and if not, why? Nothing is changed or made.

use std::{io::Write, path::PathBuf};

use holdfast_base::SystemEntropy;
use holdfast_http::Certificate;
use serde_json::json;

use crate::{
    config::{Address, Config, ListenerConfig},
    store,
};

/// For `-help`.
pub const HELP: &str = "\
Usage: holdfast operator diagnose [options]

  Looks at a configuration, its certificates, its seal and its storage as a start would, and changes nothing. Exit codes:
  0 all is well, 1 a server would not start, 2 there are warnings.

      $ holdfast operator diagnose -config=/etc/holdfast/config.hcl

Options:

  -config=<path>               File or folder with configuration, HCL or JSON. May be given more than once.
  -format=<format>             table or json.
";

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Diagnosis(Vec<(String, Finding)>);

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it should be; the text says more.
    Well(String),
    /// No reason not to start.
    Warning(String),
    /// A start would fail.
    Failure(String),
}

/// Runs the command; answers the exit code.
pub async fn run(words: impl IntoIterator<Item = String>) -> u8 {
    let (mut paths, mut as_json) = (Vec::new(), false);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value.to_owned())));
        match (name, word.starts_with('-')) {
            ("help" | "h", true) => {
                print!("{HELP}");
                return 0;
            }
            ("config", true) => paths.extend(value.or_else(|| words.next()).map(PathBuf::from)),
            ("format", true) => as_json = value.or_else(|| words.next()).as_deref() == Some("json"),
            _ => {
                eprintln!("holdfast operator diagnose: unknown option {word:?}; see holdfast operator diagnose -help");
                return 1;
            }
        }
    }
    let environment = |name: &str| std::env::var(name).ok();
    let diagnosis = diagnose(&paths, &environment).await;
    // Whoever reads may have gone.
    let _ = writeln!(std::io::stdout(), "{}", if as_json { diagnosis.json() } else { diagnosis.lines() });
    diagnosis.code()
}

/// Looks at everything.
pub async fn diagnose(paths: &[PathBuf], environment: &dyn Fn(&str) -> Option<String>) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    if paths.is_empty() {
        diagnosis.add("configuration", Finding::Failure("give one with -config=<path>".to_owned()));
        return diagnosis;
    }
    let config = match Config::load(paths, environment) {
        Ok(config) => config,
        Err(error) => {
            diagnosis.add("configuration", Finding::Failure(error.to_string()));
            return diagnosis;
        }
    };
    let read = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    diagnosis.add("configuration", Finding::Well(read));
    for warning in &config.warnings {
        diagnosis.add("configuration", Finding::Warning(warning.clone()));
    }
    if config.listeners.is_empty() {
        diagnosis.add("listener", Finding::Failure("the configuration has no listener stanza".to_owned()));
    }
    for listener in &config.listeners {
        diagnosis.add(&listener.name(), certificate(listener));
        diagnosis.add(&listener.name(), port(listener));
    }
    let seals = [("seal", Some(&config.seal)), ("seal before", config.previous_seal.as_ref())];
    for (what, seal) in seals.into_iter().filter_map(|(what, seal)| Some((what, seal?))) {
        let found = match store::open_seal(seal, environment, std::sync::Arc::new(SystemEntropy)) {
            Ok(seal) => Finding::Well(seal.kind().to_owned()),
            Err(error) => Finding::Failure(format!("{error:#}")),
        };
        diagnosis.add(what, found);
    }
    let storage = match &config.storage {
        None => Finding::Failure("the configuration has no storage stanza".to_owned()),
        Some(storage) => match store::look_at(storage).await {
            Ok(found) => Finding::Well(found),
            Err(error) => Finding::Failure(format!("{error:#}")),
        },
    };
    diagnosis.add("storage", storage);
    diagnosis
}

fn certificate(listener: &ListenerConfig) -> Finding {
    match (&listener.tls, &listener.address) {
        (Some(tls), _) => match Certificate::load(&tls.cert_file, &tls.key_file) {
            Ok(_) => Finding::Well(format!("TLS with {}", tls.cert_file.display())),
            Err(error) => Finding::Failure(error.to_string()),
        },
        (None, Address::Tcp(address)) if !address.ip().is_loopback() => {
            Finding::Warning("without TLS, and not on loopback only".to_owned())
        }
        (None, _) => Finding::Well("without TLS, on this machine only".to_owned()),
    }
}

fn port(listener: &ListenerConfig) -> Finding {
    match &listener.address {
        Address::Tcp(address) => match std::net::TcpListener::bind(address) {
            Ok(_) => Finding::Well("the port is free".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Finding::Warning("the port is in use: by the server itself, if it runs".to_owned())
            }
            Err(error) => Finding::Failure(error.to_string()),
        },
        Address::Unix(socket) => match socket.path.parent().is_none_or(std::path::Path::is_dir) {
            true => Finding::Well("the folder is there".to_owned()),
            false => Finding::Failure("its folder is missing".to_owned()),
        },
    }
}

// === impl Diagnosis ===

impl Diagnosis {
    fn add(&mut self, what: &str, finding: Finding) {
        self.0.push((what.to_owned(), finding));
    }

    /// 0 all is well, 1 a server would not start, 2 there are warnings.
    pub fn code(&self) -> u8 {
        let any = |wanted: fn(&Finding) -> bool| self.0.iter().any(|(_, finding)| wanted(finding));
        match (
            any(|finding| matches!(finding, Finding::Failure(_))),
            any(|finding| matches!(finding, Finding::Warning(_))),
        ) {
            (true, _) => 1,
            (_, true) => 2,
            _ => 0,
        }
    }

    /// One line for each.
    pub fn lines(&self) -> String {
        let line = |(what, finding): &(String, Finding)| {
            let (word, text) = finding.told();
            format!("[{word:^9}] {what}: {text}")
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn json(&self) -> String {
        let each = self.0.iter().map(|(what, finding)| {
            let (word, text) = finding.told();
            json!({ "name": what, "status": word, "message": text })
        });
        let all = json!({ "checks": each.collect::<Vec<_>>(), "code": self.code() });
        serde_json::to_string_pretty(&all).unwrap_or_default()
    }
}

impl Finding {
    fn told(&self) -> (&'static str, &str) {
        match self {
            Self::Well(text) => ("ok", text),
            Self::Warning(text) => ("warning", text),
            Self::Failure(text) => ("failure", text),
        }
    }
}
