//! A TCP link that can be made bad: each goes through a proxy in this process that slows bytes down, holds them back in one
//! direction or both, or ends connections rudely.
//!
//! Bytes that are held back are delivered when the link heals, as a network that loses packets does: a request may so arrive
//! long after its sender gave up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    task::JoinHandle,
};

/// How bytes fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Bytes to the server are held back.
    pub forward_held: bool,
    /// Bytes from the server are held back.
    pub back_held: bool,
    /// Each piece waits so long, in both directions.
    pub delay: Duration,
}

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
    weather: watch::Sender<Weather>,
    endings: broadcast::Sender<Ending>,
    task: JoinHandle<()>,
}

impl Link {
    /// In front of a port of this machine.
    pub async fn to(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let (weather, endings) = (watch::Sender::new(Weather::default()), broadcast::Sender::new(8));
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let task = tokio::spawn(accept(listener, target, weather.clone(), endings.clone()));
        Ok(Self { port: own, weather, endings, task })
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Ends all connections that are there.
    pub fn end(&self, ending: Ending) {
        // Without connections nobody listens.
        let _ = self.endings.send(ending);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        self.end(Ending::Reset);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    endings: broadcast::Sender<Ending>,
) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, target, weather.subscribe(), endings.subscribe()));
    }
}

/// One connection, to its end.
async fn carry(
    client: TcpStream,
    target: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    mut endings: broadcast::Receiver<Ending>,
) {
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
    let pumps = async {
        tokio::join!(
            pump(client_in, server_out.clone(), weather.clone(), |weather| weather.forward_held),
            pump(server_in, client_out.clone(), weather.clone(), |weather| weather.back_held),
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
    held: fn(&Weather) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
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
