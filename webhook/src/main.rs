//! Mutating webhook: injects the agent from pod annotations.

fn main() {}
