//! The driver as a process, between a kubelet and a server that the tests play, with real mounts. Needs root.

mod lifecycle;
mod node;
mod registration;
mod sanity;
mod server;
