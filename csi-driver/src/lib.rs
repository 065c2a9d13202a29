//! CSI node plugin: leased secrets as files in pods.
//!
//! `csi.holdfast.dev` serves inline ephemeral volumes. Kubelet asks it to publish a volume ([`node`]); the request is
//! checked ([`request`]) and the volume's attributes are read into a plan ([`attributes`]); as the pod, and only as the
//! pod, the driver logs in ([`session`]) and reads ([`source`], [`content`]), makes files ([`payload`]) and shows them all
//! at once ([`swap`]) on a file system in memory, which a process of its own mounts for it ([`mounter`]). A task for each volume keeps it fresh ([`volume`]); what a
//! volume had is given back when it goes ([`releases`]), also if the server was away or the driver restarted ([`state`]).

pub mod attributes;
mod authority;
mod cache;
pub mod content;
pub mod credentials;
pub mod events;
pub mod identity;
pub mod lease;
pub mod metrics;
pub mod mounter;
pub mod node;
pub mod options;
pub mod payload;
pub mod proto;
pub mod provider;
pub mod registration;
pub mod releases;
pub mod request;
pub mod services;
pub mod session;
pub mod sockets;
pub mod source;
pub mod state;
pub mod status;
pub mod swap;
mod taint;
pub mod volume;
pub mod volumes;

use std::{io, sync::Arc, time::Duration};

use anyhow::Context;
use holdfast_base::{Clock, Entropy, SystemClock, SystemEntropy};
use holdfast_client::{Client, Config};
use holdfast_runtime::{Admin, Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};
use tonic::transport::{
    Server,
    server::{Connected, Router},
};
use tracing::info;

use crate::{
    cache::LastGood,
    credentials::Cluster,
    events::{Hearing, Subscription},
    identity::IdentityService,
    metrics::Metrics,
    mounter::{
        client::Mounter,
        wire::{Socket, Sockets},
    },
    node::NodeService,
    options::FetcherOptions,
    proto::{
        csi::{identity_server::IdentityServer, node_server::NodeServer},
        provider::csi_driver_provider_server::CsiDriverProviderServer,
    },
    provider::{Provider, ProviderService, provided::VersionKey},
    registration::Registrar,
    releases::Releases,
    services::Services,
    session::Session,
    state::StateDir,
    volumes::Volumes,
};

/// For one request to the server; also the longest that an unpublish may have to wait for one.
const SERVER_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs the fetcher until the shutdown.
pub async fn run(options: FetcherOptions, shutdown: Shutdown) -> anyhow::Result<()> {
    // What is shown is meant for others to read, and modes are said where files are made.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let admin = Admin::new();
    let metrics = Metrics::default();
    admin.register(|registry| metrics.register(registry));
    let server = Client::new(Config {
        address: options.address.clone(),
        ca_file: options.ca_file.clone(),
        tls_server_name: options.tls_server_name.clone(),
        timeout: Some(SERVER_TIMEOUT),
        ..Config::default()
    })?;
    let mounter = Mounter::at(&options.mounter_socket);
    // Before the state is opened: the mounter gives the folder to this process's user before it listens.
    let listener = mounter.listen(Socket::Csi).await.context("the CSI socket")?;
    let state_dir = options.state_dir();
    let state = StateDir::open(&state_dir).with_context(|| format!("state folder {}", state_dir.display()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let own = Arc::new(Session::of_driver(
        server.clone(),
        &options.auth_mount,
        &options.role,
        options.token_file.clone(),
        clock.clone(),
    ));
    let releases = Arc::new(Releases::new(state.clone(), own.clone(), clock.clone(), entropy.clone(), metrics.clone()));
    let last_good = match options.last_good {
        Duration::ZERO => None,
        ttl => Some(LastGood::open(&state_dir.join("last-good"), &options.last_good_key_dir, ttl, &*entropy)?),
    };
    let hearing = Hearing::default();
    let services = Arc::new(Services {
        hearing: hearing.clone(),
        last_good,
        server,
        auth_mount: options.auth_mount.clone(),
        audience: options.audience.clone(),
        kubelet_root: options.kubelet_root.clone(),
        size: options.volume_size,
        mounter: mounter.clone(),
        credentials: Arc::new(Cluster::of(&options.node_id)),
        state,
        releases: releases.clone(),
        clock,
        entropy,
        metrics,
    });
    let volumes = Volumes::new(services.clone());
    admin.register(|registry| metrics::register_leases(registry, &volumes));

    let endpoint = Sockets::new(&options.kubelet_root, options.endpoint.as_deref(), None);
    let endpoint = endpoint.path(Socket::Csi)?.to_string_lossy().into_owned();
    let identity = IdentityService { mounter: mounter.clone(), state: services.state.clone() };
    let node = NodeService { node_id: options.node_id.clone(), volumes: volumes.clone() };
    let service = Server::builder().add_service(IdentityServer::new(identity)).add_service(NodeServer::new(node));
    info!(endpoint, node = options.node_id, server = options.address, "serving CSI");

    let taint = Some((options.node_id.clone(), options.startup_taint.clone())).filter(|(_, key)| !key.is_empty());
    let registrar = Registrar { mounter: mounter.clone(), endpoint, patience: options.registration_patience, taint };
    let subscription =
        Subscription { session: own, volumes: volumes.clone(), hearing, entropy: services.entropy.clone() };
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("admin", admin.clone().serve(options.admin_address, shutdown.clone()));
    tasks.spawn("csi", serve(service, UnixListenerStream::new(listener), shutdown.clone()));
    if options.provider {
        let listener = mounter.listen(Socket::Provider).await.context("the provider's socket")?;
        let key = VersionKey::open(&state_dir, &*services.entropy).context("the key of versions")?;
        let provider = Provider::new(services, key, options.provider_follow_class, options.provider_request_tokens);
        let server = CsiDriverProviderServer::new(ProviderService(provider.clone()));
        // The secrets-store driver dials by the bare path, as kubelet's plugin watcher does.
        let connections = UnixListenerStream::new(listener).map(|socket| socket.map(authority::localhost));
        tasks.spawn("provider", serve(Server::builder().add_service(server), connections, shutdown.clone()));
        tasks.spawn("classes", provider.watch(shutdown.clone()));
    }
    tasks.spawn("events", subscription.run(shutdown.clone()));
    tasks.spawn("registration", registrar.run(admin, shutdown.clone()));
    tasks.spawn("releases", releases.run(shutdown.clone()));
    tasks.spawn("volumes", volumes.watch(shutdown));
    tasks.join().await
}

/// Serves gRPC until the shutdown. Whoever calls keeps the connection open; that must not hold up the end.
async fn serve<S, C>(service: Router, connections: S, shutdown: Shutdown) -> anyhow::Result<()>
where
    S: Stream<Item = io::Result<C>>,
    C: Connected<ConnectInfo: Clone + Send + Sync + 'static> + AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::select! {
        served = service.serve_with_incoming(connections) => Ok(served?),
        () = shutdown.cancelled() => Ok(()),
    }
}
