//! What is told of a change, with the names and texts of Vault's events.

use holdfast_logical::{Event, Fields, Operation};

use super::meta::History;

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

/// The event of a change of the mount's settings.
pub(super) fn of_config() -> Event {
    Event::new("kv-v2", "config-write", "config").data_path("config")
}

/// The event of a request that was served with these fields; the secret has that history now, if there still is one.
pub(super) fn of_secret(
    (route, operation): (&str, Operation),
    path: &str,
    fields: &Fields,
    history: Option<History>,
) -> Option<Event> {
    let told = told(route, operation)?;
    let mut event = Event::new("kv-v2", told.name, &format!("{route}/{path}"));
    if let Some(folder) = told.data {
        event = event.data_path(format!("{folder}{path}"));
    }
    if let Some(name) = told.versions {
        event = event.with(name, format!("[{}]", fields.list("versions").unwrap_or_default().join(",")));
    }
    if let Some(History { current_version, oldest_version }) = history {
        event = event.with("current_version", current_version.to_string());
        event = event.with("oldest_version", oldest_version.to_string());
    }
    Some(event)
}
