//! CSI node plugin: leased secrets as files in pods.

fn main() {}
