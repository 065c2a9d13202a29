//! What happens after a file has changed: a signal, an HTTP request to the application, a touched file, a program.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    backoff::Jitter,
    config::{CONTAINER_ENV, Inherited},
};

/// Tries of one action.
const TRIES: u32 = 3;
/// For one HTTP request.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// One action. Written `signal:CONTAINER:HUP`, `http:PORT/path`, `touch` or `touch:FILE`; a program is for configuration
/// files only: the container of an injected agent has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// To the first process of a container, or to all processes of this name. Needs a shared process namespace and the
    /// same user.
    Signal {
        /// Container or process name.
        target: String,
        /// `HUP`, `USR1` …
        signal: String,
    },
    /// `POST http://127.0.0.1:port/path`, to be answered with a status below 400.
    Http {
        /// Port on the pod's loopback.
        port: u16,
        /// With its slash.
        path: String,
    },
    /// Writes the file's content anew, so that its time changes.
    Touch {
        /// Relative to the status directory, or absolute; default `<item>.changed`.
        file: Option<PathBuf>,
    },
    /// Runs a program in the agent's container. Its output goes to the agent's.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
        /// After this it is killed.
        timeout: Duration,
        /// What it gets of the agent's environment.
        inherited: Inherited,
    },
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No process fits.
    #[error("no process of container or name {0:?}; the pod needs shareProcessNamespace, and the agent its user")]
    NoProcess(String),
    /// The application was not reached or refused.
    #[error("{0}")]
    Http(String),
    /// The program failed.
    #[error("{0}")]
    Exec(String),
    /// The operating system refused.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

// === impl Action ===

impl Action {
    /// Runs the action, up to three times.
    pub async fn run(&self, item: &str, status_dir: &Path, jitter: &Jitter) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            match self.attempt(item, status_dir).await {
                Ok(()) => return Ok(()),
                Err(error) if failures + 1 >= TRIES => return Err(error),
                Err(_) => failures += 1,
            }
            tokio::time::sleep(jitter.after_failures(failures)).await;
        }
    }

    async fn attempt(&self, item: &str, status_dir: &Path) -> Result<(), Error> {
        match self {
            Self::Signal { target, signal } => {
                let Some(signal) = signal_by_name(signal) else { return Ok(()) };
                let pids = processes(Path::new("/proc"), target);
                if pids.is_empty() {
                    return Err(Error::NoProcess(target.clone()));
                }
                for pid in pids {
                    rustix::process::kill_process(pid, signal).map_err(std::io::Error::from)?;
                }
                Ok(())
            }
            Self::Http { port, path } => {
                let exchange = tokio::time::timeout(HTTP_TIMEOUT, post(*port, path));
                exchange.await.map_err(|_| Error::Http(format!("port {port}{path}: no answer")))?
            }
            Self::Touch { file } => {
                let default = PathBuf::from(format!("{item}.changed"));
                let path = status_dir.join(file.as_ref().unwrap_or(&default));
                Ok(std::fs::write(path, b"")?)
            }
            Self::Exec { command, timeout, inherited } => execute(command, *timeout, inherited).await,
        }
    }
}

/// Runs a program to its end. Arguments stay out of errors: they are the configuration's, but who knows.
async fn execute(command: &[String], timeout: Duration, inherited: &Inherited) -> Result<(), Error> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut command = tokio::process::Command::new(program);
    inherited.apply(&mut command);
    let mut child = command
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::Exec(format!("{program}: {error}")))?;
    child.id().into_iter().for_each(holdfast_runtime::unharden);
    match tokio::time::timeout(timeout, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Error::Exec(format!("{program}: {status}"))),
        Ok(Err(error)) => Err(Error::System(error)),
        Err(_) => Err(Error::Exec(format!("{program}: killed after {timeout:?}"))),
    }
}

/// A command line as words. What only a shell understands goes to a shell, if there is one.
pub fn words(text: &str) -> Vec<String> {
    const SHELL: &str = "/bin/sh";
    let plain = !text.contains(|c: char| "|&;<>()$`\\\"'*?[]#~{}!\n".contains(c));
    if plain || !Path::new(SHELL).exists() {
        return text.split_whitespace().map(str::to_owned).collect();
    }
    vec![SHELL.to_owned(), "-c".to_owned(), text.to_owned()]
}

/// Known signals, without `SIG`.
pub fn signal_by_name(name: &str) -> Option<Signal> {
    Some(match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        "CONT" => Signal::CONT,
        "STOP" => Signal::STOP,
        "ABRT" => Signal::ABORT,
        "KILL" => Signal::KILL,
        _ => return None,
    })
}

async fn post(port: u16, path: &str) -> Result<(), Error> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: holdfast-agent\r\nContent-Length: \
         0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    (&mut stream).take(1024).read_to_end(&mut head).await?;
    let line = String::from_utf8_lossy(&head);
    let status = line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(status) if status < 400 => Ok(()),
        Some(status) => Err(Error::Http(format!("port {port}{path}: status {status}"))),
        None => Err(Error::Http(format!("port {port}{path}: not an HTTP answer"))),
    }
}

/// The first process of the container of this name; or else all processes of this name; or else, where the kernel does
/// not let us see whose they are (another group), the first process of the one other container that runs as our user.
/// What somebody executes in a container looks like its first process, but began later.
fn processes(proc: &Path, target: &str) -> Vec<Pid> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let marker = format!("{CONTAINER_ENV}={target}");
    let user = rustix::process::getuid().as_raw();
    let (mut inside, mut named, mut hidden) = (Vec::new(), Vec::new(), BTreeMap::<_, Vec<_>>::new());
    let Ok(entries) = std::fs::read_dir(proc) else { return Vec::new() };
    for entry in entries.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if number == own || number == 1 {
            continue;
        }
        let Some(pid) = Pid::from_raw(number) else { continue };
        match std::fs::read(entry.path().join("environ")) {
            Ok(environ) if environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) => {
                inside.push((began(&entry.path()), pid));
            }
            Ok(_) => {}
            Err(_) if is_first(&entry.path()) && runs_as(&entry.path(), user) => {
                // Which container it is, as far as anybody may see.
                let container = std::fs::read(entry.path().join("cgroup")).unwrap_or_default();
                hidden.entry(container).or_default().push((began(&entry.path()), pid));
            }
            Err(_) => {}
        }
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.trim_end() == target.chars().take(15).collect::<String>() {
            named.push(pid);
        }
    }
    let oldest = |processes: Vec<(u64, Pid)>| {
        processes.into_iter().min_by_key(|(began, pid)| (*began, pid.as_raw_nonzero())).map(|(_, pid)| pid)
    };
    match (oldest(inside), named.is_empty()) {
        (Some(first), _) => vec![first],
        (None, false) => named,
        (None, true) if hidden.len() == 1 => hidden.into_values().filter_map(oldest).collect(),
        (None, true) => Vec::new(),
    }
}

fn runs_as(process: &Path, user: u32) -> bool {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ids.split_whitespace().next().and_then(|id| id.parse().ok()) == Some(user)
}

/// Was it started by the container runtime?
fn is_first(process: &Path) -> bool {
    field(process, 4) == Some(0)
}

/// When it began, in the kernel's ticks.
fn began(process: &Path) -> u64 {
    field(process, 22).unwrap_or(u64::MAX)
}

/// A number of `/proc/<pid>/stat`, counted as proc(5) does. The name, which is the second, stands in parentheses and may
/// hold any character.
fn field(process: &Path, number: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(number - 3)?.parse().ok()
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || format!("{text:?}: use signal:CONTAINER:HUP, http:PORT/path, touch or touch:FILE");
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "signal" => {
                let (target, signal) = rest.rsplit_once(':').ok_or_else(usage)?;
                let signal = signal.trim().to_ascii_uppercase();
                let signal = signal.strip_prefix("SIG").unwrap_or(&signal).to_owned();
                if signal_by_name(&signal).is_none() || matches!(signal.as_str(), "STOP" | "KILL" | "ABRT") {
                    return Err(format!(
                        "{text:?}: signal {signal:?} is not known; use HUP, INT, QUIT, TERM, USR1, USR2, WINCH or CONT"
                    ));
                }
                if target.is_empty() {
                    return Err(usage());
                }
                Ok(Self::Signal { target: target.to_owned(), signal })
            }
            "http" => {
                let (port, path) = match rest.split_once('/') {
                    Some((port, path)) => (port, format!("/{path}")),
                    None => (rest, "/".to_owned()),
                };
                let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(usage)?;
                if path.chars().any(|c| c.is_control() || c == ' ') {
                    return Err(usage());
                }
                Ok(Self::Http { port, path })
            }
            "touch" => Ok(Self::Touch { file: (!rest.is_empty()).then(|| PathBuf::from(rest)) }),
            _ => Err(usage()),
        }
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        match action {
            Action::Signal { target, signal } => format!("signal:{target}:{signal}"),
            Action::Http { port, path } => format!("http:{port}{path}"),
            Action::Touch { file: None } => "touch".to_owned(),
            Action::Touch { file: Some(file) } => format!("touch:{}", file.display()),
            Action::Exec { command, .. } => match command.as_slice() {
                [shell, flag, text] if shell == "/bin/sh" && flag == "-c" => format!("exec:{text}"),
                words => format!("exec:{}", words.join(" ")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_read_and_write_the_same_text() {
        for text in ["signal:app:HUP", "http:8080/-/reload", "http:80/", "touch", "touch:/tmp/x"] {
            assert_eq!(String::from(text.parse::<Action>().unwrap()), text);
        }
        assert_eq!("signal:app:sighup".parse::<Action>().unwrap(), "signal:app:HUP".parse().unwrap());
        for text in ["", "signal:app", "signal:app:KILLALL", "signal::HUP", "http:/x", "http:99999/", "exec:rm"] {
            assert!(text.parse::<Action>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_process_of_a_container_is_found_by_its_marker() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: u32, parent: u32, name: &str, container: &str| {
            let dir = proc.path().join(pid.to_string());
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("environ"), format!("A=b\0{CONTAINER_ENV}={container}\0")).unwrap();
            std::fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
            let stat = format!("{pid} ({name} ) x) S {parent} 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 {}", 1000 - pid);
            std::fs::write(dir.join("stat"), stat).unwrap();
            std::fs::write(dir.join("cgroup"), format!("0::/../{container}\n")).unwrap();
        };
        process(1, 0, "pause", "app");
        // The numbers of processes may begin again: what counts is the time.
        process(20, 0, "bash", "app");
        process(21, 22, "worker", "app");
        process(22, 0, "sh", "app");
        process(30, 31, "nginx", "other");
        process(31, 0, "sh", "other");
        let raw = |pids: Vec<Pid>| pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect::<Vec<_>>();
        assert_eq!(raw(processes(proc.path(), "app")), [22], "not what somebody executes there");
        assert_eq!(raw(processes(proc.path(), "nginx")), [30]);
        assert!(processes(proc.path(), "absent").is_empty());

        // Processes of our user whose environment we may not see: of the only such container, so it is meant.
        let user = rustix::process::getuid().as_raw();
        let hide = |pid: u32| {
            std::fs::remove_file(proc.path().join(pid.to_string()).join("environ")).unwrap();
            let status = format!("Name:\tjava\nUid:\t{user}\t{user}\n");
            std::fs::write(proc.path().join(pid.to_string()).join("status"), status).unwrap();
        };
        process(40, 0, "cat", "quiet");
        hide(40);
        process(41, 0, "java", "quiet");
        hide(41);
        assert_eq!(raw(processes(proc.path(), "quiet")), [41]);
        process(50, 0, "java", "also");
        hide(50);
        assert!(processes(proc.path(), "quiet").is_empty());
    }
}
