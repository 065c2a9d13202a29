//! What the operator is told: flags, each with an environment variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Reconciles SecretEngine, VaultPolicy and DynamicCredential objects with a Holdfast server.
#[derive(Parser, Debug)]
#[command(name = "holdfast-operator", version)]
pub struct Cli {
    /// What to do; `run` when nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the controllers.
    Run(Box<Settings>),
    /// Print the custom resource definitions as YAML.
    Crds(Crds),
    /// Stop the operator and take its finalizers off all objects: before the release is removed.
    Uninstall(Uninstall),
}

/// Flags of `uninstall`.
#[derive(Args, Debug)]
pub struct Uninstall {
    /// Deployment of the operator, which is scaled to zero first.
    #[arg(long)]
    pub deployment: Option<String>,
    /// Namespace of the Deployment.
    #[arg(long, env = "POD_NAMESPACE", default_value = "holdfast")]
    pub namespace: String,
}

/// Flags of `crds`.
#[derive(Args, Debug)]
pub struct Crds {
    /// Write one file each into this folder instead.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Flags of `run`.
#[derive(Args, Debug, Clone)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, env = "HOLDFAST_ADDR", default_value = "https://127.0.0.1:8200")]
    pub address: String,
    /// PEM file of the certificate authority of the server. Read again for every login.
    #[arg(long, env = "HOLDFAST_CACERT")]
    pub ca_file: Option<PathBuf>,
    /// File of the operator's own service account token, audience holdfast. Read again for every login.
    #[arg(long, env = "HOLDFAST_TOKEN_FILE", default_value = "/holdfast/identity/token")]
    pub token_file: PathBuf,
    /// Mount of the kubernetes auth method: of the operator's own login, and of the roles that it writes.
    #[arg(long, env = "HOLDFAST_AUTH_MOUNT", default_value = "kubernetes")]
    pub auth_mount: String,
    /// Role that the operator logs in with.
    #[arg(long, env = "HOLDFAST_ROLE", default_value = "holdfast-operator")]
    pub role: String,
    /// Namespace of the operator: of its election lease, ledger, seal Secret.
    #[arg(long, env = "POD_NAMESPACE", default_value = "holdfast")]
    pub namespace: String,
    /// Name of this replica.
    #[arg(long, env = "POD_NAME", default_value = "holdfast-operator-0")]
    pub pod_name: String,
    /// Look at these namespaces only; all without.
    #[arg(long, env = "HOLDFAST_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Name of the coordination.k8s.io Lease of the election, and beginning of the names of what the operator keeps.
    #[arg(long, env = "HOLDFAST_LEASE_NAME", default_value = "holdfast-operator")]
    pub lease_name: String,
    /// Secret with the static seal key, made if it is absent; without it no such Secret is made.
    #[arg(long, env = "HOLDFAST_SEAL_SECRET")]
    pub seal_secret: Option<String>,
    /// Beginning of the names of the ConfigMaps with the revocations that are still to be done for objects that are gone.
    #[arg(long, env = "HOLDFAST_LEDGER", default_value = "holdfast-pending-revocations")]
    pub ledger: String,
    /// Find pods that ask for injection and did not get it.
    #[arg(long, env = "HOLDFAST_FIND_MISSED", default_value_t = true, action = clap::ArgAction::Set)]
    pub find_missed: bool,
    /// vault.hashicorp.com/agent-inject asks for injection too.
    #[arg(long, env = "HOLDFAST_VAULT_ANNOTATIONS", default_value_t = true, action = clap::ArgAction::Set)]
    pub vault_annotations: bool,
    /// Databases that SecretEngines may name: pg.shop.svc, *.shop.svc:5432, *.{namespace}.svc; all without.
    #[arg(long, env = "HOLDFAST_DATABASE_HOSTS", value_delimiter = ',')]
    pub database_hosts: Vec<String>,
    /// Where health, readiness and metrics are served.
    #[arg(long, env = "HOLDFAST_ADMIN_ADDR", default_value = "0.0.0.0:9440")]
    pub admin_address: SocketAddr,
    /// text or json.
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", default_value = "text")]
    pub log_format: holdfast_runtime::LogFormat,
    /// Level, or tracing filter.
    #[arg(long, env = "HOLDFAST_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Seconds between two looks at an object that is ready: how long drift on the server can stay.
    #[arg(long, env = "HOLDFAST_RESYNC_SECONDS", default_value_t = 60)]
    pub resync_seconds: u64,
    /// Seconds that the deletion of an object tries before it leaves the revocation to the ledger.
    #[arg(long, env = "HOLDFAST_DELETION_SECONDS", default_value_t = 10)]
    pub deletion_seconds: u64,
}

impl Settings {
    /// The flags as they are when only the environment speaks.
    pub fn from_environment() -> Self {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            settings: Settings,
        }
        Only::parse_from(["holdfast-operator"]).settings
    }

    /// Time between two looks at an object that is ready.
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds.max(5))
    }

    /// How long a deletion tries.
    pub fn deletion(&self) -> Duration {
        Duration::from_secs(self.deletion_seconds)
    }

    /// The namespaces to look at; `None` stands for all.
    pub fn scopes(&self) -> Vec<Option<String>> {
        let named: Vec<_> = self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().map(Some).collect();
        if named.is_empty() { vec![None] } else { named }
    }
}
