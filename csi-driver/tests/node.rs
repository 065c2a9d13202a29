//! A node: kubelet's folder, the driver as a process, and kubelet's side of its socket.

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use holdfast_csi::proto::csi::{
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodeUnpublishVolumeRequest,
    VolumeCapability,
    node_client::NodeClient,
    volume_capability::{AccessType, MountVolume},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::server::Server;

/// The fetcher's user: nobody special, so that the tests see that it needs no rights.
const FETCHER: u32 = 65532;
pub const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

pub struct Node {
    pub root: PathBuf,
    pub server: Server,
    mounter: Option<Child>,
    driver: Option<Child>,
    folder: tempfile::TempDir,
}

impl Node {
    /// A node without a driver yet.
    pub async fn new() -> Self {
        assert!(rustix_is_root(), "these tests mount: run them as root");
        let folder = tempfile::Builder::new().prefix("hf").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = folder.path().join("k");
        fs::create_dir_all(root.join("plugins_registry")).unwrap();
        fs::write(folder.path().join("token"), "own-token\n").unwrap();
        let server = Server::start().await;
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n\
             clusters: [{{name: t, cluster: {{server: 'http://{}'}}}}]\nusers: [{{name: t, user: {{}}}}]\n",
            server.address
        );
        fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        // As on a node: nobody but root gets in.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        Self { root, server, mounter: None, driver: None, folder }
    }

    /// A node with a driver.
    pub async fn start() -> Self {
        let mut node = Self::new().await;
        node.start_driver().await;
        node
    }

    /// Starts the fetcher, and the mounter if it does not run.
    pub async fn start_driver(&mut self) {
        self.start_driver_with(&[]).await;
    }

    pub async fn start_driver_with(&mut self, more: &[&str]) {
        if self.mounter.is_none() {
            self.start_mounter();
        }
        self.start_fetcher(more).await;
    }

    pub fn start_mounter(&mut self) {
        let mounter = Command::new(env!("CARGO_BIN_EXE_holdfast-csi"))
            .args(["mounter", "--kubelet-root", self.root.to_str().unwrap(), "--fetcher-uid", &FETCHER.to_string()])
            .args(["--socket", self.mounter_socket().to_str().unwrap(), "--log-level", "debug"])
            .args(["--state-dir", self.state_dir().to_str().unwrap()])
            .args(["--provider-dir", self.folder().join("providers").to_str().unwrap()])
            .args(["--key-dir", self.key_dir().to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log_file())
            .spawn()
            .unwrap();
        self.mounter = Some(mounter);
    }

    /// Starts the fetcher as a user who may not even look at the program's folder.
    async fn start_fetcher(&mut self, more: &[&str]) {
        let program = fs::File::open(env!("CARGO_BIN_EXE_holdfast-csi")).unwrap();
        let driver = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .uid(FETCHER)
            .gid(FETCHER)
            .arg("fetcher")
            .args(["--address", &format!("http://{}", self.server.address), "--node-id", "node-1"])
            .args(["--kubelet-root", self.root.to_str().unwrap(), "--admin-address", "127.0.0.1:0"])
            .args(["--token-file", self.folder.path().join("token").to_str().unwrap(), "--log-level", "debug"])
            .args(["--mounter-socket", self.mounter_socket().to_str().unwrap()])
            .args(["--state-dir", self.state_dir().to_str().unwrap()])
            .args(more)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log_file())
            .spawn()
            .unwrap();
        self.driver = Some(driver);
        let registry = self.registry_socket();
        self.until("the driver's sockets", || registry.exists()).await;
    }

    /// SIGKILL of the mounter.
    pub fn kill_mounter(&mut self) {
        let mut mounter = self.mounter.take().unwrap();
        mounter.kill().unwrap();
        mounter.wait().unwrap();
    }

    fn log_file(&self) -> fs::File {
        fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap()
    }

    fn mounter_socket(&self) -> PathBuf {
        self.folder.path().join("mounter.sock")
    }

    /// A folder in memory.
    pub fn key_dir(&self) -> PathBuf {
        Path::new("/dev/shm").join(self.folder.path().file_name().unwrap())
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// SIGKILL, as the kernel would.
    pub fn kill_driver(&mut self) {
        self.kill_driver_and_leave_sockets();
        let _ = fs::remove_file(self.registry_socket());
    }

    pub fn kill_driver_and_leave_sockets(&mut self) {
        let mut driver = self.driver.take().unwrap();
        driver.kill().unwrap();
        driver.wait().unwrap();
    }

    /// Which of these words are in the driver's log or in what it keeps on disk, and where.
    pub fn leaks(&self, canaries: &[&str]) -> Vec<String> {
        let mut folders = vec![self.state_dir()];
        let mut files = vec![self.log_path()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        let contents = files.iter().map(|path| (path, fs::read(path).unwrap_or_default()));
        contents
            .flat_map(|(path, bytes)| {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let found: Vec<_> = canaries.iter().filter(|canary| text.contains(**canary)).collect();
                found.into_iter().map(|canary| format!("{canary} in {}", path.display())).collect::<Vec<_>>()
            })
            .collect()
    }

    pub fn driver_ended(&mut self) -> Option<ExitStatus> {
        self.driver.as_mut().unwrap().try_wait().unwrap()
    }

    /// Resident memory of the two processes in MiB.
    pub fn memory(&self) -> [usize; 2] {
        [&self.driver, &self.mounter].map(|process| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.as_ref().unwrap().id())).unwrap();
            let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
        })
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("driver.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What the fetcher that runs says at `/metrics`.
    pub fn metrics(&self) -> String {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("serving health and metrics")).unwrap();
        let address = line.split_once("address=").unwrap().1.split_whitespace().next().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub fn registry_socket(&self) -> PathBuf {
        self.root.join("plugins_registry/csi.holdfast.dev-reg.sock")
    }

    pub fn csi_socket(&self) -> PathBuf {
        self.root.join("plugins/csi.holdfast.dev/csi.sock")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a pod's volume `secrets` is mounted; makes the folders that kubelet makes.
    pub fn target(&self, uid: &str) -> PathBuf {
        let parent = self.root.join(format!("pods/{uid}/volumes/kubernetes.io~csi/secrets"));
        fs::create_dir_all(&parent).unwrap();
        parent.join("mount")
    }

    pub async fn client(&self) -> NodeClient<Channel> {
        NodeClient::new(connect(&self.csi_socket()).await)
    }

    pub async fn publish(&self, uid: &str, attributes: &[(&str, &str)]) -> Result<(), Status> {
        self.publish_request(self.request(uid, attributes)).await
    }

    pub async fn publish_request(&self, request: NodePublishVolumeRequest) -> Result<(), Status> {
        self.client().await.node_publish_volume(request).await.map(drop)
    }

    pub fn request(&self, uid: &str, attributes: &[(&str, &str)]) -> NodePublishVolumeRequest {
        let mut context = pod_context(uid);
        context.extend(attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        NodePublishVolumeRequest {
            volume_id: format!("csi-{uid}"),
            target_path: self.target(uid).to_str().unwrap().to_owned(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume::default())),
                access_mode: None,
            }),
            readonly: true,
            secrets: HashMap::from([(TOKENS.to_owned(), tokens(uid))]),
            volume_context: context,
            ..NodePublishVolumeRequest::default()
        }
    }

    pub async fn unpublish(&self, uid: &str) -> Result<(), Status> {
        let target_path = self.target(uid).to_str().unwrap().to_owned();
        let request = NodeUnpublishVolumeRequest { volume_id: format!("csi-{uid}"), target_path };
        self.client().await.node_unpublish_volume(request).await.map(drop)
    }

    pub async fn stats(&self, uid: &str) -> NodeGetVolumeStatsResponse {
        let volume_path = self.target(uid).to_str().unwrap().to_owned();
        let request = NodeGetVolumeStatsRequest {
            volume_id: format!("csi-{uid}"),
            volume_path,
            ..NodeGetVolumeStatsRequest::default()
        };
        self.client().await.node_get_volume_stats(request).await.unwrap().into_inner()
    }

    pub fn read(&self, uid: &str, file: &str) -> String {
        let path = self.target(uid).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}\n{}", path.display(), self.log()))
    }

    pub fn status(&self, uid: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(uid, ".holdfast/status.json")).unwrap()
    }

    /// Number of mounts at a pod's target.
    pub fn mounts(&self, uid: &str) -> usize {
        let target = self.target(uid);
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        text.lines().filter(|line| line.split(' ').nth(4) == target.to_str()).count()
    }

    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        self.within(Duration::from_secs(20), what, condition).await;
    }

    pub async fn within(&self, limit: Duration, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < limit, "waited {limit:?} for {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for mut process in [self.driver.take(), self.mounter.take()].into_iter().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(self.key_dir());
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours = text
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|path| Path::new(path).starts_with(&self.root));
        for path in ours {
            let _ = Command::new("umount").arg(path).status();
        }
    }
}

pub async fn connect(socket: &Path) -> Channel {
    Endpoint::try_from(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

/// What kubelet tells of a pod.
pub fn pod_context(uid: &str) -> HashMap<String, String> {
    [
        ("pod.name", "orders-1"),
        ("pod.namespace", "shop"),
        ("pod.uid", uid),
        ("serviceAccount.name", "orders"),
        ("ephemeral", "true"),
    ]
    .iter()
    .map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), (*value).to_owned()))
    .collect()
}

/// The token of a pod, as kubelet sends it.
pub fn tokens(uid: &str) -> String {
    let claims = serde_json::json!({"kubernetes.io": {"namespace": "shop", "pod": {"name": "orders-1", "uid": uid},
        "serviceaccount": {"name": "orders", "uid": "s"}}});
    let jwt = format!("e30.{}.c2lnbmF0dXJl", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
    serde_json::json!({"holdfast": {"token": jwt, "expirationTimestamp": "2036-11-24T00:00:00Z"}}).to_string()
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}
