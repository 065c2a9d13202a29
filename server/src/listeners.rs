//! Binds the sockets of the configuration, and keeps their certificates fresh.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use anyhow::Context;
use holdfast_base::Entropy;
use holdfast_http::{Budget, Certificate, Handle, Listener, Site, Tls};
use holdfast_runtime::Shutdown;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::config::{Address, ListenerConfig, UnixSocket};

/// How often certificate files are read to see whether they changed.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);

/// Sockets that are bound, and the certificates that they show.
pub struct Listeners {
    /// Bound, not serving yet.
    pub sockets: Vec<Listener>,
    /// To be reloaded.
    pub certificates: Vec<Arc<Certificate>>,
}

/// Binds every socket. The error names the listener and what is wrong with it.
pub async fn bind(
    configs: &[ListenerConfig],
    handle: &Arc<dyn Handle>,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<Listeners> {
    let mut listeners = Listeners { sockets: Vec::new(), certificates: Vec::new() };
    let budget = Arc::new(Budget::default());
    for config in configs {
        let named = || config.name();
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let certificate = Certificate::load(&tls.cert_file, &tls.key_file).with_context(named)?;
                listeners.certificates.push(certificate.clone());
                Some(Tls::new(certificate, &tls.clients, tls.versions).with_context(named)?)
            }
        };
        let site = Arc::new(Site {
            handle: handle.clone(),
            entropy: entropy.clone(),
            limits: config.limits,
            budget: budget.clone(),
            headers: config.headers.clone(),
            metrics_only: config.metrics_only,
            proxies: config.proxies.clone(),
            unauthenticated_metrics: config.unauthenticated_metrics,
            doors: config.doors,
            left: Default::default(),
        });
        let listener = match &config.address {
            Address::Tcp(address) => bind_one(*address, tls, site).await.with_context(named)?,
            Address::Unix(socket) => bind_unix(socket, site).with_context(named)?,
        };
        info!(address = config.url(), bound = ?listener.address().ok(), "listening");
        listeners.sockets.push(listener);
    }
    Ok(listeners)
}

/// Where the system has no IPv6, "all addresses" means those of IPv4.
async fn bind_one(address: SocketAddr, tls: Option<Tls>, site: Arc<Site>) -> std::io::Result<Listener> {
    match Listener::bind(address, tls.clone(), site.clone()).await {
        Err(error)
            if address.is_ipv6() && address.ip().is_unspecified() && error.kind() != std::io::ErrorKind::AddrInUse =>
        {
            Listener::bind(SocketAddr::from(([0, 0, 0, 0], address.port())), tls, site).await
        }
        other => other,
    }
}

/// Binds the file, then gives it its owner and mode. Until then it has those that the umask leaves.
fn bind_unix(socket: &UnixSocket, site: Arc<Site>) -> std::io::Result<Listener> {
    let listener = Listener::bind_unix(&socket.path, site)?;
    if socket.user.is_some() || socket.group.is_some() {
        std::os::unix::fs::chown(&socket.path, socket.user, socket.group)?;
    }
    if let Some(mode) = socket.mode {
        std::fs::set_permissions(&socket.path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(listener)
}

/// Reads the certificate files again and again: whoever renews them need not tell.
pub async fn watch_certificates(certificates: Vec<Arc<Certificate>>, shutdown: Shutdown) {
    let mut ticks = interval(CERTIFICATE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let certificates = certificates.clone();
        let reading = tokio::task::spawn_blocking(move || certificates.iter().for_each(|one| one.reload_or_warn()));
        // It ends by itself; an error would be a panic, which the task has reported.
        let _ = reading.await;
    }
}
