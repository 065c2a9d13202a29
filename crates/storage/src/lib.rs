//! The Storage trait in the shape of etcd, the memory store, and the conformance suite.
