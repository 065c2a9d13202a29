//! A Kubernetes API server without nodes, for tests: etcd and kube-apiserver on free ports, our three kinds, and the
//! namespaces `shop` and `holdfast`. Where the binaries come from: `e2e/cluster/tools.sh unit`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use holdfast_crd_types::crds;
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;

/// A process that ends with its owner.
pub struct Process(Child);

impl Process {
    /// For `/proc`.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An API server with the three kinds and the namespaces `shop` and `holdfast`.
pub struct Cluster {
    pub client: Client,
    folder: TempDir,
    _apiserver: Process,
    _etcd: Process,
}

impl Cluster {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let url = |port| format!("http://127.0.0.1:{port}");
        let etcd = Command::new(tool("HOLDFAST_ETCD", &["etcd"]))
            .args(["--data-dir", path.join("etcd").to_str().unwrap(), "--unsafe-no-fsync", "--log-level=error"])
            .args(["--listen-client-urls", &url(etcd_port), "--advertise-client-urls", &url(etcd_port)])
            .args(["--listen-peer-urls", &url(peer_port), "--initial-advertise-peer-urls", &url(peer_port)])
            .args(["--initial-cluster", &format!("default={}", url(peer_port))])
            .stderr(log(path, "etcd"))
            .spawn()
            .unwrap();

        let (key, public) = (path.join("sa.key"), path.join("sa.pub"));
        let pair = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        std::fs::write(&public, pair.public_key_pem()).unwrap();
        std::fs::write(path.join("tokens"), "secret,admin,admin,system:masters\n").unwrap();
        // The one binary of Kubernetes is what it is called.
        let program = path.join("kube-apiserver");
        std::os::unix::fs::symlink(tool("HOLDFAST_KUBE_APISERVER", &["kube-apiserver", "kubernetes"]), &program)
            .unwrap();
        let apiserver = Command::new(program)
            .arg(format!("--etcd-servers={}", url(etcd_port)))
            .args([format!("--secure-port={port}"), format!("--cert-dir={}", path.join("certs").display())])
            .args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"])
            .args(["--service-account-issuer=https://kubernetes.default.svc"])
            .arg(format!("--service-account-key-file={}", public.display()))
            .arg(format!("--service-account-signing-key-file={}", key.display()))
            .arg(format!("--token-auth-file={}", path.join("tokens").display()))
            .stderr(log(path, "apiserver"))
            .spawn()
            .unwrap();
        let (etcd, apiserver) = (Process(etcd), Process(apiserver));

        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\n\
             clusters: [{{name: t, cluster: {{server: \"https://127.0.0.1:{port}\", insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: t, user: {{token: secret}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n"
        );
        std::fs::write(path.join("kubeconfig"), &config).unwrap();
        let config = Kubeconfig::from_yaml(&config).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let cluster = Self { client, folder, _apiserver: apiserver, _etcd: etcd };
        cluster.prepare().await;
        cluster
    }

    async fn prepare(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in ["shop", "holdfast"] {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            let namespace = Namespace { metadata, ..Namespace::default() };
            eventually("the API server makes a namespace", async || {
                namespaces.create(&PostParams::default(), &namespace).await.is_ok()
            })
            .await;
        }
        let api: Api<apiextensions::CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in crds() {
            api.create(&PostParams::default(), &crd).await.unwrap();
            let name = crd.metadata.name.unwrap();
            eventually("the definition is established", async || {
                let conditions = api.get(&name).await.unwrap().status.and_then(|status| status.conditions);
                let established = |condition: &apiextensions::CustomResourceDefinitionCondition| {
                    condition.type_ == "Established" && condition.status == "True"
                };
                conditions.unwrap_or_default().iter().any(established)
            })
            .await;
        }
    }

    /// Starts `command` with this cluster as its own; its standard error goes to `<name>.log`.
    pub fn spawn(&self, mut command: Command, name: &str) -> Process {
        let child = command.env("KUBECONFIG", self.kubeconfig()).stderr(log(self.folder(), name)).spawn().unwrap();
        Process(child)
    }

    /// A kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Where logs and keys are; goes with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a controller manager would do: the service account of pods that name none.
    pub async fn default_service_account(&self, namespace: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let metadata = ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        accounts.create(&PostParams::default(), &account).await.unwrap();
    }
}

/// Asks until it is so; fails after a minute.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !so().await {
        assert!(start.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn log(folder: &Path, name: &str) -> Stdio {
    std::fs::File::create(folder.join(format!("{name}.log"))).unwrap().into()
}

/// A port of the loopback that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The first of these programs that is there: named by a variable, on PATH, or built into the cache.
fn tool(variable: &str, names: &[&str]) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> =
        std::env::split_paths(&path).chain(cache.map(|cache| cache.join("holdfast-e2e/bin"))).collect();
    let named = std::env::var_os(variable).map(PathBuf::from);
    let known = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = named.into_iter().chain(known).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{} is not here: run e2e/cluster/tools.sh unit, or say where it is in {variable}", names[0])
    })
}
