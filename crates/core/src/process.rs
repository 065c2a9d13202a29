//! What only the process knows and can do: its metrics, logs, configuration and machine. The server gives it to the core.

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::Error;

/// The process around the core.
pub trait Process: Send + Sync + 'static {
    /// All metrics as Prometheus text.
    fn metrics(&self) -> String;

    /// The log filter in use: `info,holdfast_core=debug`.
    fn log_filter(&self) -> String;

    /// The log filter of the configuration.
    fn configured_log_filter(&self) -> String;

    /// Changes the log filter; `false`: it cannot be read.
    fn set_log_filter(&self, filter: &str) -> bool;

    /// The log of our own modules from now on; `None`: there is none, or too many listen.
    fn monitor(&self, level: tracing::Level, json: bool) -> Option<crate::Pieces>;

    /// The configuration without secrets, in the shape of `sys/config/state/sanitized`.
    fn configuration(&self) -> Map<String, Value>;

    /// The machine, in the shape of `sys/host-info`.
    fn host(&self) -> Map<String, Value>;

    /// Reads certificates, log level and audit files again, as SIGHUP does.
    fn reload(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// A process that has none of this, for tests and embedders.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProcess;

impl Process for NoProcess {
    fn metrics(&self) -> String {
        String::new()
    }

    fn log_filter(&self) -> String {
        "info".to_owned()
    }

    fn configured_log_filter(&self) -> String {
        "info".to_owned()
    }

    fn set_log_filter(&self, _: &str) -> bool {
        false
    }

    fn monitor(&self, _: tracing::Level, _: bool) -> Option<crate::Pieces> {
        None
    }

    fn configuration(&self) -> Map<String, Value> {
        Map::new()
    }

    fn host(&self) -> Map<String, Value> {
        Map::new()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}
