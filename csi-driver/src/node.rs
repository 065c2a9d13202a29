//! CSI's Node service: kubelet's requests, handed on to [`Volumes`]. Requests are never logged: they carry tokens.

use std::{os::fd::AsFd, path::Path, sync::Arc};

use rustix::fs::fstatvfs;
use tonic::{Request, Response, Status, async_trait};
use tracing::warn;

use crate::{
    proto::csi::{
        NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
        NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
        NodeServiceCapability, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, VolumeCondition, VolumeUsage,
        node_server::Node,
        node_service_capability::{Rpc, Type, rpc},
        volume_usage::Unit,
    },
    source::Freshness,
    status::Failure,
    volumes::Volumes,
};

/// The service.
pub struct NodeService {
    /// Name of the node.
    pub node_id: String,
    /// What it serves.
    pub volumes: Arc<Volumes>,
}

const CAPABILITIES: [rpc::Type; 3] =
    [rpc::Type::GetVolumeStats, rpc::Type::VolumeCondition, rpc::Type::VolumeMountGroup];

#[async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let volumes = self.volumes.clone();
        // In a task of its own: kubelet hanging up must not stop it half way.
        let done = tokio::spawn(async move {
            let done = volumes.publish(&request).await;
            if let Err(failure) = &done {
                warn!(volume = request.volume_id, %failure, "publish failed");
            }
            done
        });
        finished(done.await)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let volumes = self.volumes.clone();
        let done = tokio::spawn(async move {
            let done = volumes.unpublish(&request.volume_id, &request.target_path).await;
            if let Err(failure) = &done {
                warn!(volume = request.volume_id, %failure, "unpublish failed");
            }
            done
        });
        finished(done.await)?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        if request.volume_id.is_empty() || request.volume_path.is_empty() {
            return Err(Failure::Invalid("volume_id and volume_path are needed".to_owned()).into());
        }
        let path = Path::new(&request.volume_path);
        let (health, root) = self.volumes.health(&request.volume_id, path).await.ok_or_else(|| {
            Failure::NotFound(format!("volume {} is not at {}", request.volume_id, request.volume_path))
        })?;
        let usage = usage(&root).map_err(|error| Failure::Node(format!("{}: {error}", request.volume_path)))?;
        // What nobody knows is no alarm: the message says so.
        let abnormal = health.freshness.is_some_and(|freshness| freshness != Freshness::Fresh);
        let condition = VolumeCondition { abnormal, message: health.message };
        Ok(Response::new(NodeGetVolumeStatsResponse { usage, volume_condition: Some(condition) }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability =
            |kind: rpc::Type| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })) };
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities: CAPABILITIES.map(capability).to_vec() }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node_id.clone(),
            max_volumes_per_node: 0,
            accessible_topology: None,
        }))
    }
}

fn finished(done: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Status> {
    match done {
        Ok(done) => Ok(done?),
        Err(_) => Err(Status::internal("the request's task ended early; kubelet will ask again")),
    }
}

fn usage(root: &impl AsFd) -> rustix::io::Result<Vec<VolumeUsage>> {
    let stat = fstatvfs(root)?;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let one = |unit: Unit, total: u64, free: u64, scale: u64| VolumeUsage {
        available: number(free * scale),
        total: number(total * scale),
        used: number(total.saturating_sub(free) * scale),
        unit: unit.into(),
    };
    Ok(vec![
        one(Unit::Bytes, stat.f_blocks, stat.f_bavail, stat.f_frsize),
        one(Unit::Inodes, stat.f_files, stat.f_favail, 1),
    ])
}
