//! `holdfast server`: reads the configuration, opens the store, makes the core, serves until it is told to end.

use std::{fs::File, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail};
use holdfast_barrier::{Barrier, Options, Pulse};
use holdfast_base::{Clock, Entropy, SystemClock, SystemEntropy};
use holdfast_core::{Core, CoreConfig, InitStep, Verb};
use holdfast_http::{Certificate, Handle};
use holdfast_peer::TlsNet;
use holdfast_runtime::{Shutdown, end_monitors, harden, init_logs_with, set_log_filter};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    arguments::Arguments,
    around::Around,
    config::{Address, Config, InitializeRequest, ListenerConfig, PeerAddresses, ReadMode, StorageConfig, resolve},
    dev,
    front::Front,
    listeners::{self, Listeners},
    metrics::Metrics,
    process::PidFile,
    registry::registry,
    store::{open_seal, open_storage},
};

/// Runs the server to its end. The error is for people, on one line.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = configure(&arguments)?;
    let log_file = config.log_file.as_deref().map(open_log).transpose()?;
    init_logs_with(config.log_format, log_level(&arguments, &config), log_file);
    harden();
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let pid_file = config.pid_file.as_deref();
    let _pid_file = pid_file
        .map(|path| PidFile::write(path).with_context(|| format!("pid_file: {}", path.display())))
        .transpose()?;

    let shutdown = Shutdown::on_signals()?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let metrics = Arc::new(Metrics::new());
    let api_addr = config.api_addr.clone().or_else(|| config.listeners.first().map(ListenerConfig::url));
    let around =
        Around::new(metrics.clone(), &config, api_addr.as_deref().unwrap_or_default(), log_level(&arguments, &config));
    let core = make_core(&config, api_addr.unwrap_or_default(), &around, &metrics, &entropy).await?;
    metrics.watch_mounts(&core);
    let handle: Arc<dyn Handle> = Arc::new(Front { core: core.clone(), metrics: metrics.clone() });
    if config.hostname_header {
        let hostname = hostname();
        config.listeners.iter_mut().try_for_each(|listener| listener.headers.tell_hostname(&hostname))?;
    }
    let listeners = listeners::bind(&config.listeners, &handle, &entropy).await?;
    info!(version = env!("CARGO_PKG_VERSION"), "holdfast server started");
    if arguments.dev {
        let ready = dev::prepare(&core, &entropy, &arguments).await?;
        if !arguments.dev_no_store_token
            && let Err(error) = dev::store_token(environment("HOME").as_deref(), &ready)
        {
            warn!(%error, "the root token is not in ~/.vault-token");
        }
        let address = config.listeners.first().map(ListenerConfig::url);
        print!("{}", dev::greeting(&address.unwrap_or_default(), &ready, &arguments));
    }
    serve(core, listeners, &around, arguments, shutdown).await
}

fn configure(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut config = Config::load(&arguments.config, &environment)?;
    if let Some(level) = &arguments.log_level {
        config.log_level = Some(level.clone());
    }
    if let Some(format) = &arguments.log_format {
        config.log_format = format.parse().map_err(|error| anyhow!("-log-format: {error}"))?;
    }
    if let Some(file) = &arguments.log_file {
        config.log_file = Some(file.clone());
    }
    config.warnings.extend(arguments.idle.iter().cloned());
    if arguments.dev {
        let address = arguments.dev_listen_address.as_deref().unwrap_or("127.0.0.1:8200");
        let address = resolve(address).map_err(|error| anyhow!("-dev-listen-address: {error}"))?;
        config.storage = Some(StorageConfig::Inmem);
        config.listeners.insert(0, ListenerConfig::plain(address));
        return Ok(config);
    }
    if arguments.config.is_empty() {
        bail!("give a configuration with -config=<file>, or try -dev");
    }
    if config.storage.is_none() {
        bail!(
            "the configuration has no storage stanza; add storage \"etcd\" {{ … }} or storage \"file\" {{ path = … }}"
        );
    }
    if config.listeners.is_empty() {
        bail!("the configuration has no listener stanza; add listener \"tcp\" {{ address = \"127.0.0.1:8200\" … }}");
    }
    Ok(config)
}

/// Opens the file of the log at its end; of a folder, a file in it.
fn open_log(path: &Path) -> anyhow::Result<File> {
    let path = if path.is_dir() { path.join("holdfast.log") } else { path.to_owned() };
    let opened = File::options().create(true).append(true).mode(0o600).open(&path);
    opened.with_context(|| format!("log_file {}", path.display()))
}

/// Of a dev server only the greeting counts, unless more was asked for.
fn log_level<'a>(arguments: &Arguments, config: &'a Config) -> &'a str {
    config.log_level.as_deref().unwrap_or(if arguments.dev { "warn" } else { "info" })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn make_core(
    config: &Config,
    api_addr: String,
    around: &Arc<Around>,
    metrics: &Metrics,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<Arc<Core>> {
    let storage_config = config.storage.as_ref().context("no storage")?;
    let open_seal = |seal| open_seal(seal, &environment, entropy.clone());
    let seal = open_seal(&config.seal)?;
    let previous_seal = config.previous_seal.as_ref().map(open_seal).transpose()?;
    let storage = open_storage(storage_config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let storage_kind = storage.kind().to_owned();
    let options = barrier_options(config, storage_config, &api_addr).await?;
    let barrier = Barrier::open_with(storage, clock.clone(), entropy.clone(), options);
    metrics.watch_replica(&barrier);
    Ok(Core::new(CoreConfig {
        barrier,
        seal,
        previous_seal,
        registry: registry(),
        open_audit: holdfast_core::OPEN_AUDIT,
        clock,
        entropy: entropy.clone(),
        audit: config.audit.clone(),
        process: around.clone(),
        raw_storage: config.raw_storage,
        metrics: metrics.core(),
        default_lease_ttl: config.default_lease_ttl,
        max_lease_ttl: config.max_lease_ttl,
        lockouts: config.lockouts.clone(),
        limits: config.limits,
        cluster_name: config.cluster_name.clone().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build_date: BUILD_DATE.to_owned(),
        storage_kind,
        api_addr,
        hostname: hostname(),
        initialize: config.initialize.iter().map(step).collect(),
    }))
}

/// How this replica is known to others, talks to them, and reads.
async fn barrier_options(config: &Config, storage: &StorageConfig, api_addr: &str) -> anyhow::Result<Options> {
    let old = matches!(storage, StorageConfig::Etcd(etcd) if etcd.allow_old);
    if old {
        tracing::warn!("allow_old_etcd: nothing is read from memory, and each transaction goes to etcd by itself");
    }
    let always_ask = old || config.cluster.read_mode == ReadMode::Barrier;
    let mut options = Options { instance: place(config), always_ask, old_etcd: old, ..Options::default() };
    let mut labels = vec![("api_addr", api_addr), ("version", env!("CARGO_PKG_VERSION"))];
    let peers = config.peers();
    if let Some(PeerAddresses { bind, advertised }) = &peers {
        options.peers = Some(Arc::new(TlsNet { bind: *bind, advertised: advertised.clone() }));
        labels.push(("cluster_addr", advertised));
    } else if matches!(storage, StorageConfig::Etcd(_)) {
        info!("there is no cluster_addr: if other servers share the store, all ask it before each read");
    }
    if matches!(storage, StorageConfig::Etcd(_)) {
        let storage = storage.clone();
        options.pulse = Some(Pulse::start(async move { open_storage(&storage).await }).await?);
    }
    options.labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(options)
}

/// Part of `sys/seal-status`; a fixed date, so that the same source makes the same binary.
const BUILD_DATE: &str = "2026-11-23T00:00:00Z";

fn hostname() -> String {
    environment("POD_NAME")
        .or_else(|| rustix::system::uname().nodename().to_str().ok().map(str::to_owned))
        .unwrap_or_default()
}

/// Name of the place that this process runs at, of which there is one at a time. Two on one machine differ by their ports.
fn place(config: &Config) -> String {
    let port = config.listeners.iter().find_map(|listener| match &listener.address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    });
    match port {
        None | Some(0 | 8200) => hostname(),
        Some(port) => format!("{}:{port}", hostname()),
    }
}

fn step(request: &InitializeRequest) -> InitStep {
    let verb = match request.operation.as_str() {
        "read" => Verb::Read,
        "list" => Verb::List,
        "delete" => Verb::Delete,
        "patch" => Verb::Patch,
        _ => Verb::Write,
    };
    InitStep { name: request.name.clone(), verb, path: request.path.clone(), data: request.data.clone() }
}

/// Serves until a signal or a failure. The order of the end: no new connections, running requests to their end, then
/// the core's own work, then the keys out of memory.
async fn serve(
    core: Arc<Core>,
    listeners: Listeners,
    around: &Around,
    arguments: Arguments,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Listeners { sockets, certificates } = listeners;
    tokio::spawn(listeners::watch_certificates(certificates.clone(), shutdown.clone()));
    tokio::spawn(reload_on_hangup(core.clone(), certificates, around.reloads(), arguments, shutdown.clone()));

    let end_of_core = CancellationToken::new();
    let mut running = tokio::spawn(core.clone().run(end_of_core.clone()));
    let mut serving = JoinSet::new();
    for socket in sockets {
        let shutdown = shutdown.clone();
        serving.spawn(async move { socket.serve(shutdown.cancelled()).await });
    }
    let failure = tokio::select! {
        ended = &mut running => Some(anyhow!("the core ended by itself: {ended:?}")),
        () = shutdown.cancelled() => None,
    };
    shutdown.cancel();
    end_monitors();
    while let Some(ended) = serving.join_next().await {
        if let Err(error) = ended {
            error!(%error, "a listener failed");
        }
    }
    end_of_core.cancel();
    if failure.is_none() {
        running.await.context("the core's own work failed")?;
    }
    core.seal().await;
    info!("holdfast server ended");
    failure.map_or(Ok(()), Err)
}

/// SIGHUP or a request: certificates, log level and audit files anew.
async fn reload_on_hangup(
    core: Arc<Core>,
    certificates: Vec<Arc<Certificate>>,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
    arguments: Arguments,
    shutdown: Shutdown,
) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return warn!(%error, "SIGHUP will not reload anything"),
    };
    loop {
        let done = tokio::select! {
            _ = hangups.recv() => None,
            done = asked.recv() => done,
            () = shutdown.cancelled() => return,
        };
        info!("reloading certificates, log level and audit files");
        certificates.iter().for_each(|certificate| certificate.reload_or_warn());
        match configure(&arguments) {
            Ok(config) => {
                let log_level = log_level(&arguments, &config);
                if !set_log_filter(log_level) {
                    warn!(log_level, "the log level cannot be used");
                }
            }
            Err(error) => warn!(error = format!("{error:#}"), "the configuration cannot be read again"),
        }
        core.reopen_audit().await;
        if let Some(done) = done {
            // Who asked may have gone.
            let _ = done.send(());
        }
    }
}
