//! The `holdfast` binary: server and command line.

fn main() {}
