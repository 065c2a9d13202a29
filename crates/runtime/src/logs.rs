//! Logs to standard error, and to a file if there is one, as text or as one JSON object a line.

use std::{
    fs::File,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{
        self,
        writer::{BoxMakeWriter, MakeWriterExt},
    },
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::monitor;

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The text of the filter in use.
static TEXT: Mutex<String> = Mutex::new(String::new());

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" | "standard" | "" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("log format {other:?}: use text or json")),
        }
    }
}

/// Starts logging. `filter` is a level (`trace`, `debug`, `info`, `warn`, `error`) or a tracing filter
/// (`info,holdfast_core=debug`); what cannot be read counts as `info`.
pub fn init_logs(format: LogFormat, filter: &str) {
    init_logs_with(format, filter, None);
}

/// The same, with a file that gets every line too.
pub fn init_logs_with(format: LogFormat, filter: &str, file: Option<File>) {
    let writer = match file {
        Some(file) => BoxMakeWriter::new(std::io::stderr.and(Arc::new(file))),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let (filter, text) = match EnvFilter::try_new(filter) {
        Ok(read) => (read, filter),
        Err(_) => (EnvFilter::new("info"), "info"),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let own = match format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(filter).boxed(),
    };
    let layers = vec![own, monitor::layer(LogFormat::Text), monitor::layer(LogFormat::Json)];
    // A second call finds logging started, as tests in one process do.
    if tracing_subscriber::registry().with(layers).try_init().is_ok() {
        // The first start is the only one that gets here.
        let _ = FILTER.set(handle);
        remember(text);
    }
}

/// Changes the filter of running logs. What cannot be read, or logs that [`init_logs`] did not start, change nothing; the
/// answer says whether the filter is in use now.
pub fn set_log_filter(filter: &str) -> bool {
    match (FILTER.get(), EnvFilter::try_new(filter)) {
        (Some(handle), Ok(read)) => {
            let changed = handle.reload(read).is_ok();
            if changed {
                remember(filter);
            }
            changed
        }
        _ => false,
    }
}

/// The filter in use, as it was given; empty before [`init_logs`].
pub fn log_filter() -> String {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn remember(filter: &str) {
    filter.clone_into(&mut TEXT.lock().unwrap_or_else(PoisonError::into_inner));
}
