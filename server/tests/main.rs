//! The built binary, as people start it: on free loopback ports, with real etcd and PostgreSQL processes.

mod fixture;

mod crash;
mod database;
mod dev;
mod etcd;
mod file;
mod hvac;
mod initialize;
mod shutdown;
mod startup;
mod tls;
