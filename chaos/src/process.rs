//! A program that is started, killed, paused and started again; it ends with its owner.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// One program with its arguments, running or not.
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    runner: Vec<String>,
    child: Option<Child>,
    id: Id,
}

/// Id of a process while it runs, for others to look at; 0: it does not run.
pub type Id = Arc<AtomicU32>;

impl Process {
    /// Not started yet. Its output is appended to the log.
    pub fn new(program: &Path, arguments: Vec<String>, log: PathBuf) -> Self {
        let (environment, runner) = (Vec::new(), Vec::new());
        Self { program: program.to_owned(), arguments, environment, log, runner, child: None, id: Id::default() }
    }

    /// Its id is told here.
    pub fn with_id_in(mut self, id: Id) -> Self {
        self.id = id;
        self
    }

    /// With this variable; all others but PATH are kept from it.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// From the next start on with this argument too.
    pub fn add_argument(&mut self, argument: &str) {
        if !self.arguments.iter().any(|known| known == argument) {
            self.arguments.push(argument.to_owned());
        }
    }

    /// From the next start on by this program with its arguments, which runs what comes after them.
    pub fn run_by(&mut self, runner: &[String]) {
        self.runner = runner.to_vec();
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut words = self.runner.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        let child = Command::new(words.next().context("nothing to start")?)
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.id.store(child.id(), Ordering::SeqCst);
        self.child = Some(child);
        Ok(())
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.id.store(0, Ordering::SeqCst);
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, and the end; SIGKILL if that takes too long.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        for _ in 0..500 {
            if !self.is_running() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        if let Some(pid) = pid {
            // It may have ended already; it is not reaped, so the id is still its own.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of this machine that nobody listens at now. It is not one of those that the kernel gives to outgoing connections, so
/// that it is still free when a killed program starts again.
pub fn free_port() -> std::io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for _ in 0..COUNT {
        // Several test processes begin at different places.
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = u16::try_from(FIRST + step % COUNT).unwrap_or(u16::MAX);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}
