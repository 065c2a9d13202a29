//! CSI's Identity service: who the plugin is, and whether it can work.

use std::time::Duration;

use tonic::{Request, Response, Status, async_trait};

use tracing::warn;

use crate::{
    mounter::{client::Mounter, wire::Socket},
    proto::csi::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
        ProbeRequest, ProbeResponse, identity_server::Identity,
    },
    state::StateDir,
};

/// Name of the driver, as the CSIDriver object has it.
pub const NAME: &str = holdfast_crd_types::names::CSI_DRIVER;

/// How long the mounter may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(3);

/// Answers from constants, and looks whether the mounter answers and the state can be read.
#[derive(Clone)]
pub struct IdentityService {
    /// The privileged part.
    pub mounter: Mounter,
    /// What is remembered.
    pub state: StateDir,
}

impl IdentityService {
    /// Why no volume could be mounted now.
    async fn hindrance(&self) -> Option<String> {
        match tokio::time::timeout(PATIENCE, self.mounter.is_shown(Socket::Csi)).await {
            Err(_) => return Some("the mounter does not answer".to_owned()),
            Ok(Err(error)) => return Some(error.to_string()),
            Ok(Ok(_)) => {}
        }
        self.state.check().err().map(|error| format!("state folder: {error}"))
    }
}

#[async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: NAME.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: Default::default(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities: Vec::new() }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let hindrance = self.hindrance().await;
        if let Some(reason) = &hindrance {
            warn!(reason, "not ready");
        }
        Ok(Response::new(ProbeResponse { ready: Some(hindrance.is_none()) }))
    }
}
