//! What the proto files compile to.
#![allow(missing_docs, clippy::all)]

/// The node half of CSI.
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// Providers of the secrets-store driver.
pub mod provider {
    tonic::include_proto!("v1alpha1");
}

/// Kubelet's plugin registration.
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
