//! `events`

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{api::escaped, failure::Failure, session::Session};

/// What engines do, as they do it.
#[derive(Subcommand)]
pub enum Events {
    /// Print events, one JSON object in a line, until interrupted.
    Subscribe(Subscribe),
}

/// Print events, one JSON object in a line, until interrupted.
#[derive(Args)]
pub struct Subscribe {
    /// Which events: an expression over event_type, operation, namespace, source_plugin_mount and data_path, as
    /// 'data_path == secret/data/app and operation != "data-write"'.
    #[arg(long, alias = "bexpr-filter", value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Also of this namespace below the current one; may be repeated, * stands for any text.
    #[arg(long, value_name = "PATTERN")]
    namespaces: Vec<String>,
    /// Stop after this long.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Type of the events: kv-v2/data-write; * stands for any text.
    event_type: String,
}

impl Events {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Subscribe(subscribe) => subscribe.run(session).await,
        }
    }
}

impl Subscribe {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let wrong = |error: holdfast_base::duration::ParseError| Failure::local(format!("-timeout: {error}"));
        let limit = self.timeout.as_deref().map(holdfast_base::duration::parse).transpose().map_err(wrong)?;
        let client = session.api().stream()?;
        let opened = client.subscribe(self.event_type.trim_matches('/'), &self.query()).await;
        let mut events = opened.map_err(|error| Failure::Nothing(format!("Error subscribing to events: {error}")))?;
        let print = async {
            loop {
                match events.next().await {
                    Ok(event) => session.print(&event),
                    Err(over) => return over,
                }
            }
        };
        let forever = Duration::from_secs(u64::from(u32::MAX));
        let limit = limit.filter(|limit| !limit.is_zero()).unwrap_or(forever);
        match tokio::time::timeout(limit, print).await {
            Err(_) => Ok(()),
            Ok(over) => Err(Failure::Nothing(format!("Error: {over}"))),
        }
    }

    fn query(&self) -> String {
        let namespaces = self.namespaces.iter().map(|pattern| ("namespaces", pattern));
        let filter = self.filter.iter().map(|filter| ("filter", filter));
        let pair = |(name, value): (&str, &String)| format!("{name}={}", escaped(value));
        namespaces.chain(filter).map(pair).collect::<Vec<_>>().join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped() {
        let subscribe = Subscribe {
            filter: Some("a == b".to_owned()),
            namespaces: vec!["x&".to_owned(), "*".to_owned()],
            timeout: None,
            event_type: String::new(),
        };
        assert_eq!(subscribe.query(), "namespaces=%78%26&namespaces=%2A&filter=%61%20%3D%3D%20%62");
    }
}
