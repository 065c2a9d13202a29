//! Against real etcd processes on free loopback ports.

mod access;
mod conformance;
mod etcd;
