//! `monitor`

use std::io::Write;

use clap::Args;

use crate::{api::escaped, failure::Failure, session::Session};

/// Print the log of a replica as it is written, until interrupted.
#[derive(Args)]
pub struct Monitor {
    /// Least level of what is shown: trace, debug, info, warn or error.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// standard or json.
    #[arg(long, value_name = "FORMAT", default_value = "standard")]
    log_format: String,
}

impl Monitor {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let query = format!("log_level={}&log_format={}", escaped(&self.log_level), escaped(&self.log_format));
        let mut print = |lines: &[u8]| {
            let mut out = std::io::stdout().lock();
            out.write_all(lines)?;
            out.flush()
        };
        let listened = session.api().stream()?.listen("sys/monitor", &query, &mut print).await;
        listened.map_err(|error| Failure::Nothing(format!("Error monitoring logs: {error}")))
    }
}
