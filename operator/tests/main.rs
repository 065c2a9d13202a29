//! The operator's binary against a real Kubernetes API server (with etcd, without nodes) and a stand-in for the Holdfast
//! server that records what is asked of it.

mod cluster;
mod lifecycle;
mod stand_in;
