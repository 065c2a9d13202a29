//! A TCP link that can be made bad: each goes through a proxy in this process that slows bytes down, holds them back in one
//! direction or both, or ends connections rudely.
//!
//! Bytes that are held back are delivered when the link heals, as a network that loses packets does: a request may so arrive
//! long after its sender gave up. A link may have another weather for each program that connects.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    task::JoinHandle,
};

use crate::{caller, process::Id};

/// How bytes fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Bytes to the server are held back.
    pub forward_held: bool,
    /// Bytes from the server are held back.
    pub back_held: bool,
    /// The same of connections that carry a watch of etcd, and of no others.
    pub watch_held: bool,
    /// Each piece waits so long, in both directions.
    pub delay: Duration,
}

/// `/etcdserverpb.Watch/Watch` in Huffman's code of RFC 7541, as the first watch of a connection has it in its header.
const WATCH: [u8; 18] =
    [0x60, 0xa9, 0x24, 0x88, 0x2d, 0x9d, 0xcb, 0x65, 0x71, 0xaf, 0xc8, 0x69, 0x24, 0xec, 0x72, 0x1a, 0x49, 0x3f];

/// In so many first bytes of a piece.
const HEADERS: usize = 1024;

/// A rude end of the connections that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides get an RST.
    Reset,
    /// The server sees the end of the stream, the client goes on waiting.
    HalfClose,
}

/// A proxy in front of one server.
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    /// Programs that connect; without any, they are not told apart.
    callers: Vec<Id>,
    /// For each of the callers, or one for all.
    weather: Vec<watch::Sender<Weather>>,
    endings: broadcast::Sender<Ending>,
    carried: AtomicU64,
}

impl Link {
    /// In front of a port of this machine.
    pub async fn to(port: u16) -> std::io::Result<Self> {
        Self::between(Vec::new(), port).await
    }

    /// The same, which tells these programs apart and takes connections of no others.
    pub async fn between(callers: Vec<Id>, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            target: SocketAddr::from(([127, 0, 0, 1], port)),
            weather: (0..callers.len().max(1)).map(|_| watch::Sender::new(Weather::default())).collect(),
            callers,
            endings: broadcast::Sender::new(8),
            carried: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { port: own, shared, task })
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, for all who connect.
    pub fn set(&self, weather: Weather) {
        for sender in &self.shared.weather {
            sender.send_replace(weather);
        }
    }

    /// From now on, for one of the programs that are told apart.
    pub fn set_for(&self, caller: usize, weather: Weather) {
        self.shared.weather[caller].send_replace(weather);
    }

    /// Bytes in both directions so far.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// Ends all connections that are there.
    pub fn end(&self, ending: Ending) {
        // Without connections nobody listens.
        let _ = self.shared.endings.send(ending);
    }
}

impl Weather {
    /// The same seen from the other end.
    pub fn turned(self) -> Self {
        Self { forward_held: self.back_held, back_held: self.forward_held, ..self }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        self.end(Ending::Reset);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, from)) = listener.accept().await {
        let caller = if shared.callers.is_empty() { Some(0) } else { caller::of(&shared.callers, from) };
        match caller {
            Some(caller) => drop(tokio::spawn(carry(client, caller, shared.clone()))),
            None => reset(&client),
        }
    }
}

/// One connection, to its end.
async fn carry(client: TcpStream, caller: usize, shared: Arc<Shared>) {
    let (target, mut weather, mut endings) =
        (shared.target, shared.weather[caller].subscribe(), shared.endings.subscribe());
    let open = async {
        weather.wait_for(|weather| !weather.forward_held).await.ok()?;
        TcpStream::connect(target).await.ok()
    };
    let server = tokio::select! {
        server = open => server,
        _ = endings.recv() => None,
    };
    let Some(server) = server else { return reset(&client) };
    // Without Nagle on either side, or every answer waits for an acknowledgement.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    let (client_out, server_out) =
        (Arc::new(tokio::sync::Mutex::new(client_out)), Arc::new(tokio::sync::Mutex::new(server_out)));
    let (to_server, to_client) = (server_out.clone(), client_out.clone());
    let is_watch = AtomicBool::new(false);
    let look = |bytes: &[u8]| {
        shared.carried.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.windows(WATCH.len()).take(HEADERS).any(|part| part == WATCH) {
            is_watch.store(true, Ordering::Relaxed);
        }
    };
    let count = |bytes: &[u8]| {
        shared.carried.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let back_held = |weather: &Weather| weather.back_held || weather.watch_held && is_watch.load(Ordering::Relaxed);
    let pumps = async {
        tokio::join!(
            pump(client_in, to_server, weather.clone(), look, |weather| weather.forward_held),
            pump(server_in, to_client, weather.clone(), count, back_held),
        )
    };
    tokio::pin!(pumps);
    let ending = tokio::select! {
        _ = &mut pumps => return,
        ending = endings.recv() => ending,
    };
    match ending {
        Ok(Ending::HalfClose) => {
            // The write half may be in use by a pump that is held back; then there is nothing to half-close for now.
            if let Ok(mut out) = server_out.try_lock() {
                let _ = out.shutdown().await;
            }
            pumps.await;
        }
        _ => {
            for out in [&client_out, &server_out] {
                if let Ok(out) = out.try_lock() {
                    reset(out.as_ref());
                }
            }
        }
    }
}

/// Makes the coming drop of the stream an RST.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn pump(
    mut from: OwnedReadHalf,
    to: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    mut weather: watch::Receiver<Weather>,
    look: impl Fn(&[u8]),
    held: impl Fn(&Weather) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        look(&buffer[..count]);
        let Ok(delay) = weather.wait_for(|weather| !held(weather)).await.map(|weather| weather.delay) else { return };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut to = to.lock().await;
        if count == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
