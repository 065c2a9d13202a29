//! Flags and environment of the two halves.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use holdfast_base::duration;
use holdfast_runtime::LogFormat;

/// Holdfast's CSI node plugin: two processes, one program.
#[derive(Clone, Debug, Parser)]
#[command(name = "holdfast-csi", version, about)]
pub struct Options {
    /// Which half.
    #[command(subcommand)]
    pub command: Command,
    /// trace, debug, info, warn, error, or a tracing filter.
    #[arg(long, env = "HOLDFAST_LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: String,
    /// text or json.
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
}

/// The halves.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serves kubelet and speaks to the server; needs no privileges.
    Fetcher(Box<FetcherOptions>),
    /// Mounts for the fetcher; needs privileges, and no network.
    Mounter(MounterOptions),
}

/// Flags of the fetcher.
#[derive(Clone, Debug, Parser)]
pub struct FetcherOptions {
    /// Address of the server.
    #[arg(long, env = "HOLDFAST_ADDR")]
    pub address: String,
    /// PEM file of the certificate authorities that the server's certificate may come from; default: the system's.
    #[arg(long, env = "HOLDFAST_CACERT")]
    pub ca_file: Option<PathBuf>,
    /// Name to expect in the server's certificate instead of the address's.
    #[arg(long, env = "HOLDFAST_TLS_SERVER_NAME")]
    pub tls_server_name: Option<String>,
    /// Mount of the kubernetes auth method.
    #[arg(long, env = "HOLDFAST_AUTH_MOUNT", default_value = holdfast_crd_types::names::AUTH_MOUNT)]
    pub auth_mount: String,
    /// Audience of pods' tokens; the same as in tokenRequests of the CSIDriver object.
    #[arg(long, env = "HOLDFAST_AUDIENCE", default_value = holdfast_crd_types::names::AUDIENCE)]
    pub audience: String,
    /// Role of the driver's own login, which gives back what belonged to pods that are gone.
    #[arg(long, env = "HOLDFAST_ROLE", default_value = "holdfast-csi")]
    pub role: String,
    /// File with the driver's own service account token.
    #[arg(long, env = "HOLDFAST_TOKEN_FILE", default_value = "/holdfast/identity/token")]
    pub token_file: PathBuf,
    /// Name of this node.
    #[arg(long, env = "NODE_NAME")]
    pub node_id: String,
    /// Kubelet's root folder, by which its target paths begin. The fetcher does not open it.
    #[arg(long, env = "KUBELET_ROOT_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,
    /// The CSI socket's path as kubelet sees it; default: plugins/csi.holdfast.dev/csi.sock in kubelet's folder.
    #[arg(long, env = "HOLDFAST_CSI_ENDPOINT")]
    pub endpoint: Option<PathBuf>,
    /// Socket of the mounter.
    #[arg(long, env = "HOLDFAST_MOUNTER_SOCKET", default_value = "/run/holdfast/mounter.sock")]
    pub mounter_socket: PathBuf,
    /// Where volumes and debts are remembered; default: plugins/csi.holdfast.dev/state in kubelet's folder.
    #[arg(long, env = "HOLDFAST_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Most bytes of a volume.
    #[arg(long, env = "HOLDFAST_VOLUME_SIZE", default_value_t = 16 << 20)]
    pub volume_size: u64,
    /// Serve SecretProviderClasses with `provider: vault` for the secrets-store driver; the mounter shows the socket.
    #[arg(long, env = "HOLDFAST_PROVIDER")]
    pub provider: bool,
    /// Let SecretProviderClasses choose the server by vaultAddress. Their pods' tokens are then sent wherever they say.
    #[arg(long, env = "HOLDFAST_PROVIDER_FOLLOW_CLASS")]
    pub provider_follow_class: bool,
    /// Ask the cluster for tokens of pods whose requests come without any; needs the right to create them.
    #[arg(long, env = "HOLDFAST_PROVIDER_REQUEST_TOKENS")]
    pub provider_request_tokens: bool,
    /// Key of a taint to take off the node once kubelet has registered the driver; empty for none.
    #[arg(long, env = "HOLDFAST_STARTUP_TAINT", default_value = "")]
    pub startup_taint: String,
    /// For how long pods may start with the last good files of their service account on this node while the server is
    /// away; 0: not at all.
    #[arg(long, env = "HOLDFAST_LAST_GOOD", default_value = "0", value_parser = duration::parse)]
    pub last_good: Duration,
    /// Folder in memory, lost when the node restarts, for the key of the last good files.
    #[arg(long, env = "HOLDFAST_LAST_GOOD_KEY_DIR", default_value = "/run/holdfast-key")]
    pub last_good_key_dir: PathBuf,
    /// How long kubelet may take to register the driver before it is called again.
    #[arg(long, env = "HOLDFAST_REGISTRATION_PATIENCE", default_value = "30s", value_parser = duration::parse, hide = true)]
    pub registration_patience: Duration,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "HOLDFAST_ADMIN_ADDR", default_value = "0.0.0.0:9441")]
    pub admin_address: SocketAddr,
}

/// Flags of the mounter.
#[derive(Clone, Debug, Parser)]
pub struct MounterOptions {
    /// Kubelet's root folder. The mounter uses pods, plugins/csi.holdfast.dev and plugins_registry in it.
    #[arg(long, env = "KUBELET_ROOT_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,
    /// The CSI socket; default: plugins/csi.holdfast.dev/csi.sock in kubelet's folder.
    #[arg(long, env = "HOLDFAST_CSI_ENDPOINT")]
    pub endpoint: Option<PathBuf>,
    /// Where to listen for the fetcher.
    #[arg(long, env = "HOLDFAST_MOUNTER_SOCKET", default_value = "/run/holdfast/mounter.sock")]
    pub socket: PathBuf,
    /// User of the fetcher: nobody else is answered, and the files of volumes belong to it.
    #[arg(long, env = "HOLDFAST_FETCHER_UID", default_value_t = 65532)]
    pub fetcher_uid: u32,
    /// A folder to give to the fetcher's user, for what it remembers.
    #[arg(long, env = "HOLDFAST_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder of the secrets-store driver's providers; with it, the socket vault.sock is shown there.
    #[arg(long, env = "HOLDFAST_PROVIDER_DIR")]
    pub provider_dir: Option<PathBuf>,
    /// Another folder to give to the fetcher's user: that of the key of the last good files.
    #[arg(long, env = "HOLDFAST_LAST_GOOD_KEY_DIR")]
    pub key_dir: Option<PathBuf>,
}

impl FetcherOptions {
    /// Where state is.
    pub fn state_dir(&self) -> PathBuf {
        let usual = || self.kubelet_root.join("plugins").join(crate::identity::NAME).join("state");
        self.state_dir.clone().unwrap_or_else(usual)
    }
}
