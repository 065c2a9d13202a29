//! What clients see of three replicas and three etcd members while these are killed, paused and cut from each other.
//!
//! A *run* ([`run::run`]) starts everything on loopback with a proxy in each link ([`link`]), lets clients of all replicas work
//! ([`workload`]) and record each request with its times and answer ([`history`]), carries out a plan of faults that is a function
//! of a seed ([`plan`], [`nemesis`]), and then asks a checker whether there is an order of the requests that explains all answers
//! ([`verdict`]). *Scenarios* ([`scenarios`]) are named attacks on the store; [`failover`] measures what a failure costs the clients of the other replicas. What was found: docs/linearizability.md.

pub mod caller;
pub mod cluster;
pub mod dice;
pub mod disk;
pub mod etcd;
pub mod failover;
pub mod history;
pub mod link;
pub mod nemesis;
pub mod plan;
pub mod process;
pub mod run;
pub mod scenarios;
pub mod verdict;
pub mod workload;
