//! `monitor`

use clap::Args;

use crate::failure::Failure;

/// Not served: the log is the process's own.
#[derive(Args)]
pub struct Monitor {
    /// Least level of what is shown.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// standard or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Monitor {
    /// Says where to look instead.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let level = self.log_level.as_deref().unwrap_or("debug");
        let format = match self.log_format.as_deref() {
            Some("json") => "; log_format = \"json\" of its configuration makes each line JSON",
            _ => "",
        };
        Err(Failure::local(format!(
            "Not served: the server hands out no log. Read that of its process (standard error, journalctl, kubectl \
             logs){format}. Its level is changed with: holdfast write sys/loggers level={level}"
        )))
    }
}
