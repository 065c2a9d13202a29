//! `holdfast-webhook`: serves `POST /mutate`, looks after its own certificates, and announces them.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use clap::Parser;
use holdfast_base::{SystemClock, duration};
use holdfast_runtime::{Admin, LogFormat, Shutdown, Tasks};
use holdfast_webhook::{
    authority::{self, Place},
    cluster::Live,
    mutate::Settings,
    profile,
    rules::Source,
    serve::{self, Service},
};
use tokio::net::TcpListener;

/// Mutating webhook: injects the agent from pod annotations.
#[derive(Parser)]
#[command(name = "holdfast-webhook", version)]
struct Arguments {
    /// Where reviews are served, with TLS.
    #[arg(long, env = "HOLDFAST_LISTEN_ADDR", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "HOLDFAST_ADMIN_ADDR", default_value = "0.0.0.0:9442")]
    admin_listen: SocketAddr,
    /// Namespace of this webhook.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Service of this webhook.
    #[arg(long, env = "HOLDFAST_WEBHOOK_SERVICE", default_value = "holdfast-webhook")]
    service: String,
    /// Secret that replicas share the certificate authority in.
    #[arg(long, env = "HOLDFAST_WEBHOOK_SECRET", default_value = "holdfast-webhook-ca")]
    ca_secret: String,
    /// MutatingWebhookConfiguration that gets the CA bundle.
    #[arg(long, env = "HOLDFAST_WEBHOOK_CONFIGURATION", default_value = "holdfast-webhook")]
    configuration: String,
    /// Image of the agent.
    #[arg(long, env = "HOLDFAST_AGENT_IMAGE")]
    agent_image: String,
    /// Always, IfNotPresent or Never.
    #[arg(long, env = "HOLDFAST_AGENT_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    agent_image_pull_policy: String,
    /// Resources of the agent: requests.cpu=5m,limits.memory=64Mi …
    #[arg(
        long,
        env = "HOLDFAST_AGENT_RESOURCES",
        default_value = "requests.cpu=5m,requests.memory=16Mi,limits.memory=64Mi"
    )]
    agent_resources: String,
    /// Address of the server as pods see it.
    #[arg(long, env = "HOLDFAST_ADDR")]
    server: String,
    /// File with the server's CA, PEM; delivered to every pod.
    #[arg(long, env = "HOLDFAST_CACERT")]
    server_ca_file: Option<PathBuf>,
    /// File with servers and profiles, JSON; without it there are none besides the defaults.
    #[arg(long, env = "HOLDFAST_WEBHOOK_PROFILES")]
    profiles_file: Option<PathBuf>,
    /// File with certificate authorities, PEM: only callers with a certificate of theirs are answered. For API servers
    /// that are configured to show one.
    #[arg(long, env = "HOLDFAST_WEBHOOK_CLIENT_CA")]
    client_ca_file: Option<PathBuf>,
    /// Mount of the kubernetes auth method.
    #[arg(long, env = "HOLDFAST_WEBHOOK_AUTH_MOUNT", default_value = holdfast_crd_types::names::AUTH_MOUNT)]
    auth_mount: String,
    /// How often agents read paths without lease again.
    #[arg(long, env = "HOLDFAST_WEBHOOK_REFRESH", default_value = "1s", value_parser = duration::parse)]
    refresh: Duration,
    /// How long the first render of a pod may take.
    #[arg(long, env = "HOLDFAST_WEBHOOK_INIT_TIMEOUT", default_value = "120s", value_parser = duration::parse)]
    init_timeout: Duration,
    /// trace, debug, info, warn, error, or a tracing filter.
    #[arg(long, env = "HOLDFAST_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// text or json.
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    holdfast_runtime::install_crypto_provider();
    holdfast_runtime::init_logs(arguments.log_format, &arguments.log_level);
    holdfast_runtime::harden();
    let client = kube::Client::try_default().await.context("cannot find the cluster")?;
    let shutdown = Shutdown::on_signals()?;
    let admin = Admin::new();
    let serving = Arc::new(ArcSwapOption::empty());
    let source = Source::new(settings(&arguments)?, arguments.server_ca_file.clone(), arguments.profiles_file.clone());
    let live = Live::new(client.clone());
    let service = Service::new(source.map_err(anyhow::Error::msg)?, Box::new(live.clone()), &admin);
    let client_ca = arguments.client_ca_file.as_ref().map(std::fs::read).transpose().context("--client-ca-file")?;
    let acceptor = serve::tls(serving.clone(), client_ca.as_deref())?;
    let listener = TcpListener::bind(arguments.listen).await.context("--listen")?;
    let place = Place {
        names: names(&arguments.service, &arguments.namespace),
        namespace: arguments.namespace,
        secret: arguments.ca_secret,
        configuration: arguments.configuration,
        period: authority::PERIOD,
    };
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("admin", admin.clone().serve(arguments.admin_listen, shutdown.clone()));
    tasks.spawn("webhook", serve::serve(listener, acceptor, service, shutdown.clone()));
    tasks.spawn("watches", live.watch(shutdown.clone()));
    tasks.spawn("certificates", authority::keep(client, place, Arc::new(SystemClock), serving, admin, shutdown));
    tasks.join().await
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    Ok(Settings {
        image: arguments.agent_image.clone(),
        image_pull_policy: arguments.agent_image_pull_policy.clone(),
        server: arguments.server.clone(),
        auth_mount: arguments.auth_mount.trim_matches('/').trim_start_matches("auth/").to_owned(),
        refresh: arguments.refresh,
        init_timeout: arguments.init_timeout,
        resources: profile::pairs(&arguments.agent_resources)
            .map_err(|reason| anyhow::anyhow!("--agent-resources: {reason}"))?,
        ..Settings::default()
    })
}

/// All names by which API servers may call the Service.
fn names(service: &str, namespace: &str) -> Vec<String> {
    let base = format!("{service}.{namespace}.svc");
    vec![base.clone(), format!("{base}.cluster.local"), format!("{service}.{namespace}")]
}
