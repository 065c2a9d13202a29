//! csi-sanity, the CSI project's own conformance suite, against the driver. It makes volumes through a controller and
//! publishes them writable; inline volumes have neither, so a small proxy stands in between and plays the rest of
//! Kubernetes: it claims a controller, hands the test's parameters on as pod info, and sets `readonly`. All Node and
//! Identity requests go to the real driver.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use holdfast_csi::proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, PluginCapability, ProbeRequest, ProbeResponse,
    identity_client::IdentityClient,
    identity_server::{Identity, IdentityServer},
    node_client::NodeClient,
    node_server::{Node as NodeApi, NodeServer},
    plugin_capability::{Service, Type, service},
};
use serde_json::json;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Request, Response, Status, async_trait,
    transport::{Channel, Server},
};

use crate::node::{Node, TOKENS, connect, pod_context, tokens};

#[allow(missing_docs, clippy::all)]
mod controller {
    include!(concat!(env!("OUT_DIR"), "/controller/csi.v1.rs"));
}
use controller::{
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse, ControllerServiceCapability,
    CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse, Volume,
    controller_server::{Controller, ControllerServer},
    controller_service_capability::{Rpc, Type as ControllerType},
};

#[derive(Clone)]
struct Proxy {
    channel: Channel,
    /// The target of the suite, and the one that kubelet would have.
    suite: PathBuf,
    target: PathBuf,
}

impl Proxy {
    fn path(&self, path: &str) -> String {
        if Path::new(path) == self.suite { self.target.to_str().unwrap().to_owned() } else { path.to_owned() }
    }
}

#[async_trait]
impl Identity for Proxy {
    async fn get_plugin_info(
        &self,
        r: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        IdentityClient::new(self.channel.clone()).get_plugin_info(r).await
    }

    async fn get_plugin_capabilities(
        &self,
        r: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let mut answer = IdentityClient::new(self.channel.clone()).get_plugin_capabilities(r).await?;
        let claim = Type::Service(Service { r#type: service::Type::ControllerService.into() });
        answer.get_mut().capabilities.push(PluginCapability { r#type: Some(claim) });
        Ok(answer)
    }

    async fn probe(&self, r: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        IdentityClient::new(self.channel.clone()).probe(r).await
    }
}

#[async_trait]
impl NodeApi for Proxy {
    async fn node_publish_volume(
        &self,
        mut r: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        r.get_mut().readonly = true;
        r.get_mut().target_path = self.path(&r.get_ref().target_path);
        let answer = NodeClient::new(self.channel.clone()).node_publish_volume(r).await?;
        fs::create_dir_all(&self.suite)?;
        Ok(answer)
    }

    async fn node_unpublish_volume(
        &self,
        mut r: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        r.get_mut().target_path = self.path(&r.get_ref().target_path);
        let answer = NodeClient::new(self.channel.clone()).node_unpublish_volume(r).await?;
        let _ = fs::remove_dir(&self.suite);
        Ok(answer)
    }

    async fn node_get_volume_stats(
        &self,
        mut r: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        r.get_mut().volume_path = self.path(&r.get_ref().volume_path);
        NodeClient::new(self.channel.clone()).node_get_volume_stats(r).await
    }

    async fn node_get_capabilities(
        &self,
        r: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        NodeClient::new(self.channel.clone()).node_get_capabilities(r).await
    }

    async fn node_get_info(&self, r: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        NodeClient::new(self.channel.clone()).node_get_info(r).await
    }
}

#[async_trait]
impl Controller for Proxy {
    async fn create_volume(&self, r: Request<CreateVolumeRequest>) -> Result<Response<CreateVolumeResponse>, Status> {
        let r = r.into_inner();
        let volume = Volume { capacity_bytes: 0, volume_id: r.name, volume_context: r.parameters };
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(&self, _: Request<DeleteVolumeRequest>) -> Result<Response<DeleteVolumeResponse>, Status> {
        Ok(Response::new(DeleteVolumeResponse {}))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let create = ControllerServiceCapability { r#type: Some(ControllerType::Rpc(Rpc { r#type: 1 })) };
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities: vec![create] }))
    }
}

fn csi_sanity() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(cache.map(|cache| cache.join("holdfast-e2e/bin")));
    let found = std::env::var_os("HOLDFAST_CSI_SANITY").map(PathBuf::from);
    let found = found.or_else(|| folders.iter().map(|folder| folder.join("csi-sanity")).find(|path| path.exists()));
    found.expect("csi-sanity is missing: go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@v5.6.0")
}

#[tokio::test]
async fn the_driver_passes_csi_sanity() {
    let node = Node::start().await;
    node.server.with(|world| world.kv.insert("kv/data/app".to_owned(), json!({"token": "t"})));
    let socket = node.folder().join("proxy.sock");
    let channel = connect(&node.csi_socket()).await;
    let proxy = Proxy { channel, suite: node.folder().join("suite/target"), target: node.target("u-1") };
    let incoming = UnixListenerStream::new(tokio::net::UnixListener::bind(&socket).unwrap());
    let serving = Server::builder()
        .add_service(IdentityServer::new(proxy.clone()))
        .add_service(NodeServer::new(proxy.clone()))
        .add_service(ControllerServer::new(proxy))
        .serve_with_incoming(incoming);
    tokio::spawn(serving);

    let mut parameters = pod_context("u-1");
    parameters.insert("credentials".to_owned(), "orders-ro".to_owned());
    parameters.insert("items".to_owned(), "- {path: kv/data/app, key: token, file: token}".to_owned());
    // JSON is YAML.
    let parameters_file = node.folder().join("parameters.yaml");
    fs::write(&parameters_file, serde_json::to_string(&parameters).unwrap()).unwrap();
    let secrets_file = node.folder().join("secrets.yaml");
    fs::write(&secrets_file, json!({"NodePublishVolumeSecret": {TOKENS: tokens("u-1")}}).to_string()).unwrap();

    let output = tokio::process::Command::new(csi_sanity())
        .arg(format!("-csi.endpoint=unix://{}", socket.display()))
        .arg(format!("-csi.mountdir={}", node.folder().join("suite").display()))
        .arg(format!("-csi.stagingdir={}", node.folder().join("staging").display()))
        .arg(format!("-csi.testvolumeparameters={}", parameters_file.display()))
        .arg(format!("-csi.secrets={}", secrets_file.display()))
        .args(["-ginkgo.focus=Node Service|Identity Service", "-ginkgo.skip=Controller Service", "-ginkgo.no-color"])
        .args(["-ginkgo.v"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}\n{}", String::from_utf8_lossy(&output.stderr), node.log());
    let ran = text.lines().find(|line| line.starts_with("Ran ")).unwrap_or_default();
    eprintln!("{ran}");
    let count: usize = ran.split(' ').nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(count >= 15, "only {ran:?}: the suite has changed its names\n{text}");
    node.until("the release", || node.server.with(|world| world.bound.is_empty())).await;
}
