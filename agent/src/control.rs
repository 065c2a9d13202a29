//! `rotate`: another process in the agent's container tells the running agent to replace credentials, over a socket beside
//! the status file, and hears how that went.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, warn};

use crate::failure::{Class, Failure};

/// Name of the socket in the folder of the status.
const SOCKET: &str = "agent.sock";
/// Longest order, and longest answer.
const MAX: u64 = 4096;
/// For an order to be said.
const HEARING: Duration = Duration::from_secs(5);
/// For an answer: longer than a request to the server may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// To replace the credentials of an item.
pub struct Order {
    /// Which; none is all.
    pub item: Option<String>,
    answer: oneshot::Sender<Result<String, Failure>>,
}

impl Order {
    /// Says how it went.
    pub fn answer(self, outcome: Result<String, Failure>) {
        // Nobody may be waiting any more.
        let _ = self.answer.send(outcome);
    }
}

/// Takes orders until dropped. Without the socket the agent does everything else.
pub async fn listen(dir: PathBuf, orders: mpsc::Sender<Order>) {
    let listener = match open(&dir) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "rotate cannot be told to this agent"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, orders.clone()))),
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn open(dir: &Path) -> io::Result<UnixListener> {
    fs::create_dir_all(dir)?;
    let path = dir.join(SOCKET);
    // What a killed agent left; anything but a socket is somebody else's.
    if fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn converse(mut stream: UnixStream, orders: mpsc::Sender<Order>) {
    // The application may be of the same user and see the same folder: its processes have no number here.
    let inside = stream.peer_cred().is_ok_and(|peer| peer.pid().is_some_and(|pid| pid > 0));
    let outcome = match hear(&mut stream).await {
        Ok(_) if !inside => Err(Failure::new(Class::Denied, "rotate: only from the container of the agent")),
        Ok(item) => obey(item, &orders).await,
        Err(failure) => Err(failure),
    };
    let text = match outcome {
        Ok(text) => format!("0 {text}"),
        Err(failure) => format!("{} {failure}", failure.class.exit_code()),
    };
    if let Err(error) = stream.write_all(text.as_bytes()).await {
        debug!(%error, "nobody waits for the answer");
    }
}

/// The item that is meant; none is all. All of it is read also for who is not obeyed: he would not hear the answer otherwise.
async fn hear(stream: &mut UnixStream) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    match timeout(HEARING, stream.take(MAX).read_to_string(&mut text)).await {
        Ok(Ok(_)) => Ok(Some(text).filter(|item| !item.is_empty())),
        _ => Err(Failure::new(Class::Away, "rotate: no order was said")),
    }
}

async fn obey(item: Option<String>, orders: &mpsc::Sender<Order>) -> Result<String, Failure> {
    let away = |reason: &str| Failure::new(Class::Away, format!("rotate: {reason}"));
    let (answer, outcome) = oneshot::channel();
    orders.send(Order { item, answer }).await.map_err(|_| away("the agent ends"))?;
    outcome.await.map_err(|_| away("the agent ends"))?
}

/// Tells the agent whose status is in `dir` to replace the credentials of `item`, or all; what it did.
pub async fn rotate(dir: &Path, item: Option<&str>) -> Result<String, Failure> {
    if dir.as_os_str().is_empty() {
        return Err(Failure::new(
            Class::Config,
            "rotate: there is no agent to find: set status_dir in the configuration",
        ));
    }
    let path = dir.join(SOCKET);
    let failed = |reason: String| Failure::new(Class::Away, format!("rotate: {}: {reason}", path.display()));
    let answer = timeout(PATIENCE, exchange(&path, item.unwrap_or_default())).await;
    let answer = answer.map_err(|_| failed("no answer".to_owned()))?.map_err(|error| failed(error.to_string()))?;
    let (code, text) = answer.split_once(' ').ok_or_else(|| failed("no answer".to_owned()))?;
    match code.parse::<u8>() {
        Ok(0) => Ok(text.to_owned()),
        Ok(code) => Err(Failure::new(Class::of(code), text)),
        Err(_) => Err(failed("no such answer".to_owned())),
    }
}

async fn exchange(path: &Path, item: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(item.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.take(MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}
