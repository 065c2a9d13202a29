//! The barrier as its users see it: over memory, over a store that loses answers, over two replicas.

mod basics;
mod cluster;
#[path = "../../storage-etcd/tests/etcd.rs"]
mod etcd;
mod faults;
mod fixtures;
mod keys;
mod secrecy;
mod serial;
mod stores;
mod support;
