//! What is told of a change, with the names and texts of Vault's events.

use holdfast_logical::{Event, Operation};

use super::Versioned;

/// What an event says of a request: its name, and the folder of `data_path`, if it has one.
struct Told {
    name: &'static str,
    data: Option<&'static str>,
    /// Text that the version numbers of the request are told under.
    versions: Option<&'static str>,
}

/// Of a request that changed something.
fn told(route: &str, operation: Operation) -> Option<Told> {
    let told = |name, data| Some(Told { name, data, versions: None });
    let of_versions = |name, versions| Some(Told { name, data: Some("data/"), versions: Some(versions) });
    match (route, operation) {
        ("config", Operation::Create | Operation::Update) => told("config-write", Some("")),
        ("data", Operation::Create | Operation::Update) => told("data-write", Some("data/")),
        ("data", Operation::Patch) => told("data-patch", Some("data/")),
        ("data", Operation::Delete) => told("data-delete", Some("data/")),
        ("delete", Operation::Create | Operation::Update) => of_versions("delete", "deleted_versions"),
        ("undelete", Operation::Create | Operation::Update) => of_versions("undelete", "undeleted_versions"),
        ("destroy", Operation::Create | Operation::Update) => of_versions("destroy", "destroyed_versions"),
        ("metadata", Operation::Create | Operation::Update) => told("metadata-write", Some("metadata/")),
        ("metadata", Operation::Patch) => told("metadata-patch", Some("metadata/")),
        ("metadata", Operation::Delete) => told("metadata-delete", None),
        _ => None,
    }
}

impl Versioned {
    /// The event of a request that was served. `versions` are those that it named.
    pub(super) async fn event(
        &self,
        (route, operation): (&str, Operation),
        path: &str,
        versions: &[String],
    ) -> Option<Event> {
        let told = told(route, operation)?;
        if route == "config" {
            return Some(Event::new("kv-v2", told.name, "config").data_path("config"));
        }
        let mut event = Event::new("kv-v2", told.name, &format!("{route}/{path}"));
        if let Some(folder) = told.data {
            event = event.data_path(format!("{folder}{path}"));
        }
        if let Some(name) = told.versions {
            event = event.with(name, format!("[{}]", versions.join(",")));
        }
        // What cannot be read now is left out: the change itself is done.
        match self.view.get_json::<super::meta::Meta>(&format!("meta/{path}")).await {
            Ok(Some((meta, _))) => {
                let current = meta.current_version.to_string();
                Some(event.with("current_version", current).with("oldest_version", meta.oldest_version.to_string()))
            }
            _ => Some(event),
        }
    }
}
