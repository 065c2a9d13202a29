//! CSI node plugin: leased secrets as files in pods.
pub mod proto;
pub mod attributes;
pub mod mount;
pub mod payload;
pub mod request;
pub mod status;
pub mod swap;
