//! What events mean for somebody who reads values: which path to read again, and when everything.

use std::time::Duration;

use serde_json::Value;

use crate::{Error, EventStream, Over};

/// What is to be read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// This path has changed.
    Path(String),
    /// The subscription is new: something may have been missed.
    Anything,
    /// There is no subscription (any more): changes are not told of.
    Nothing,
}

impl EventStream {
    /// Tells of what changes until the subscription ends, and why it did; `None` when `tell` wants no more. It is told
    /// [`Heard::Anything`] first and [`Heard::Nothing`] last.
    pub async fn changes<F>(mut self, mut tell: impl FnMut(Heard) -> F) -> Option<Over>
    where
        F: Future<Output = bool>,
    {
        let mut wanted = tell(Heard::Anything).await;
        while wanted {
            match self.next().await {
                Ok(event) => match path_of(&event) {
                    Some(path) => wanted = tell(Heard::Path(path)).await,
                    None => continue,
                },
                Err(over) => return tell(Heard::Nothing).await.then_some(over),
            }
        }
        None
    }
}

/// How long to leave a server alone that says that there will be no events, or none for us; `None` if it is another
/// error, which may pass sooner.
pub fn refused(error: &Error) -> Option<Duration> {
    let said_no = matches!(error.status(), Some(400..500)) && !error.is_transient();
    said_no.then_some(Duration::from_secs(300))
}

/// The path of the API by which what an event is about is read. Versions of a kv value are deleted and brought back by
/// other paths than that.
fn path_of(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    let text = |name: &str| event.pointer(&format!("/data/event/metadata/{name}")).and_then(Value::as_str);
    let path = text("data_path").filter(|path| !path.is_empty()).or_else(|| text("path"))?;
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let Some(part) = parts.iter_mut().find(|part| matches!(**part, "metadata" | "delete" | "undelete" | "destroy")) {
        *part = "data";
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_path_that_is_read() {
        let event =
            |name: &str, path: &str| serde_json::json!({"data": {"event": {"metadata": {name: path}}}}).to_string();
        assert_eq!(path_of(&event("data_path", "k8s/shop/kv/data/a/b")).unwrap(), "k8s/shop/kv/data/a/b");
        assert_eq!(path_of(&event("data_path", "kv/metadata/a")).unwrap(), "kv/data/a");
        assert_eq!(path_of(&event("path", "kv/destroy/delete")).unwrap(), "kv/data/delete");
        assert_eq!(path_of("{}"), None);
        assert_eq!(path_of("no JSON"), None);
    }

    #[test]
    fn only_a_lasting_no_is_left_alone_for_long() {
        let status = |status| Error::Status { status, path: String::new(), errors: Vec::new() };
        assert!([400, 403, 404].into_iter().all(|code| refused(&status(code)).is_some()));
        assert!([429, 500, 503].into_iter().all(|code| refused(&status(code)).is_none()));
        let away = Error::Unreachable { address: String::new(), reason: String::new() };
        assert_eq!(refused(&away), None);
    }
}
