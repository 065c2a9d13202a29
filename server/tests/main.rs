//! The built binary, as people start it: on free loopback ports, with real etcd and PostgreSQL processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests say what they expect")]

mod fixture;

mod agent;
mod audit;
mod canary;
mod chaos;
mod cli;
mod clients;
mod crash;
mod database;
mod dev;
mod documents;
mod etcd;
mod events;
mod failpoints;
mod file;
mod flood;
mod initialize;
mod keyholders;
mod login;
mod migration;
mod old_etcd;
mod reference;
mod replicas;
mod shutdown;
mod slow_database;
mod soak;
mod startup;
mod storm;
mod tls;
mod updates;
mod wire;
