//! What the demo and the end-to-end tests stand on: a cluster reached with kubectl and helm as a user would, the release
//! under test, and waiting with a deadline for what must become true.

pub mod leaks;
pub mod load;
pub mod nodes;
pub mod postgres;
pub mod release;
pub mod server;
pub mod shell;
pub mod shop;
pub mod wait;
pub mod workloads;

pub use load::{Load, Service};
pub use release::Release;
pub use server::Server;
pub use shell::{kubectl, kubectl_apply, run};
pub use shop::Shop;
pub use wait::{eventually, eventually_within};
