//! What every process needs and no domain knows of: logs, signals, supervised tasks, the admin listener.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let shutdown = holdfast_runtime::Shutdown::on_signals()?;
//! let admin = holdfast_runtime::Admin::new();
//! let mut tasks = holdfast_runtime::Tasks::new(shutdown.clone());
//! tasks.spawn("admin", admin.clone().serve("0.0.0.0:9443".parse()?, shutdown.clone()));
//! admin.set_ready(true);
//! tasks.join().await
//! # }
//! ```

mod admin;
mod logs;
mod monitor;
mod process;
mod tasks;

pub use admin::Admin;
pub use logs::{LogFormat, init_logs, init_logs_with, log_filter, set_log_filter};
pub use monitor::{Lines, end_monitors, monitor};
pub use process::{harden, unharden};
pub use tasks::{Shutdown, Tasks};

/// Makes aws-lc-rs the TLS provider of the process. Call it first in `main`.
pub fn install_crypto_provider() {
    // An error means that a provider is installed already, which can only be this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
