//! Flags and environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use holdfast_runtime::LogFormat;

use crate::identity::NAME;

/// Holdfast's CSI node plugin.
#[derive(Clone, Debug, Parser)]
#[command(name = "holdfast-csi", version, about)]
pub struct Options {
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
    /// Kubelet's root folder.
    #[arg(long, env = "KUBELET_ROOT_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,
    /// The CSI socket; default: plugins/csi.holdfast.dev/csi.sock in kubelet's folder. Must have the same path here and
    /// for kubelet.
    #[arg(long, env = "HOLDFAST_CSI_ENDPOINT")]
    pub endpoint: Option<PathBuf>,
    /// Where volumes and debts are remembered; default: plugins/csi.holdfast.dev/state in kubelet's folder.
    #[arg(long, env = "HOLDFAST_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Most bytes of a volume.
    #[arg(long, env = "HOLDFAST_VOLUME_SIZE", default_value_t = 16 << 20)]
    pub volume_size: u64,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "HOLDFAST_ADMIN_ADDR", default_value = "0.0.0.0:9441")]
    pub admin_address: SocketAddr,
    /// trace, debug, info, warn, error, or a tracing filter.
    #[arg(long, env = "HOLDFAST_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// text or json.
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl Options {
    /// The driver's folder below kubelet's.
    fn plugin_dir(&self) -> PathBuf {
        self.kubelet_root.join("plugins").join(NAME)
    }

    /// The CSI socket. A `unix://` in front is taken off.
    pub fn endpoint(&self) -> PathBuf {
        match &self.endpoint {
            None => self.plugin_dir().join("csi.sock"),
            Some(path) => match path.to_str().and_then(|text| text.strip_prefix("unix:")) {
                Some(rest) => PathBuf::from(format!("/{}", rest.trim_start_matches('/'))),
                None => path.clone(),
            },
        }
    }

    /// The socket that kubelet finds us by.
    pub fn registration(&self) -> PathBuf {
        self.kubelet_root.join("plugins_registry").join(format!("{NAME}-reg.sock"))
    }

    /// Where state is.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.plugin_dir().join("state"))
    }
}
