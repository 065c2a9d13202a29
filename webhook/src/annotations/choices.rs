//! What is said once for a pod. Every field is optional, so that pod, namespace and profile can be laid over each other.

use std::{collections::BTreeMap, time::Duration};

use holdfast_agent::config::UseToken;

/// Port of the agent where nobody says another one, as with Vault's injector.
const PROXY_PORT: u16 = 8200;

/// Place among the init containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Before all.
    First,
    /// After all.
    Last,
    /// Before the one of this name.
    Before(String),
}

macro_rules! choices {
    ($($(#[$doc:meta])+ $name:ident: $type:ty,)+) => {
        /// See the module.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Choices {
            $($(#[$doc])+ pub $name: Option<$type>,)+
            /// `limits.cpu`, `requests.memory` … of the agent; empty text takes the default away.
            pub resources: BTreeMap<String, String>,
        }

        impl Choices {
            /// These, and those of `below` where nothing is said here.
            pub fn over(self, below: Self) -> Self {
                let mut resources = below.resources;
                resources.extend(self.resources);
                Self { $($name: self.$name.or(below.$name),)+ resources }
            }
        }
    };
}

choices! {
    /// Role to log in with; the server chooses that of the service account otherwise.
    role: String,
    /// A server of the administrator's list, by name or address.
    server: String,
    /// Mount of the auth method, without `auth/`.
    auth_mount: String,
    /// Auth method, as a file of the agent names it.
    auth_type: String,
    /// What a file has in its `config`.
    auth_config: BTreeMap<String, String>,
    /// Audience of the pod's token.
    audience: String,
    /// Namespace of the server.
    namespace: String,
    /// For one request.
    client_timeout: Duration,
    /// Render once, before the application starts, and nothing after.
    once: bool,
    /// Start the application without waiting for the first render.
    ungated: bool,
    /// Among the init containers.
    order: Order,
    /// Application containers that get the mount; all otherwise.
    containers: Vec<String>,
    /// Init containers that get the mount; all otherwise.
    init_containers: Vec<String>,
    /// Format of items of which nobody says how they look.
    format: String,
    /// Where the files are mounted.
    mount_path: String,
    /// Whether applications may only read there.
    mount_read_only: bool,
    /// Also write the login token.
    token: bool,
    /// Between reads of what has no lease.
    refresh: Duration,
    /// For the first render.
    init_timeout: Duration,
    /// User of the agent.
    run_as_user: i64,
    /// Group of the agent.
    run_as_group: i64,
    /// The user of the first application container, or a denial.
    run_as_same_user: bool,
    /// Asked for, beyond what signals need.
    share_processes: bool,
    /// Of the agent.
    log_level: String,
    /// Of the agent.
    log_format: String,
    /// Revoke when the agent ends.
    revoke_on_exit: bool,
    /// Of the agent, where the profile lets pods choose.
    image: String,
    /// Kubernetes Secret whose files the agent sees at `/vault/custom`.
    extra_secret: String,
    /// Container whose mounts the agent gets too.
    copy_mounts: String,
    /// Requests of the application go through the agent.
    proxy: bool,
    /// Port of the agent on the pod's loopback.
    proxy_port: u16,
    /// Whose token such a request carries.
    proxy_token: UseToken,
    /// A request to that port ends the agent.
    quit: bool,
    /// Port of the pod at which the agent's metrics are read.
    metrics_port: u16,
}

impl Choices {
    /// Place of the agent.
    pub fn order(&self, vault: bool) -> Order {
        self.order.clone().unwrap_or(if vault { Order::Last } else { Order::First })
    }

    /// Where the files are.
    pub fn mount_path(&self, vault: bool) -> &str {
        self.mount_path.as_deref().unwrap_or(if vault { "/vault/secrets" } else { "/holdfast/secrets" })
    }

    /// Port on which the agent listens, if it does: once everything is rendered there is no agent.
    pub fn listens(&self) -> Option<u16> {
        let wanted = self.proxy == Some(true) || self.quit == Some(true);
        (wanted && !self.is_once()).then(|| self.proxy_port.unwrap_or(PROXY_PORT))
    }

    /// Init mode.
    pub fn is_once(&self) -> bool {
        self.once.unwrap_or(false)
    }
}
