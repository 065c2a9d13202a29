//! Logs in, renders templates, renews: the sidecar of injected pods.

fn main() {}
