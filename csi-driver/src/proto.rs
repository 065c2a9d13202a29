//! What the proto files compile to.
#![allow(missing_docs, clippy::all)]

/// The node half of CSI.
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// Kubelet's plugin registration.
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
