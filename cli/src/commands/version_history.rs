//! `version-history`

use serde_json::{Map, Value};

use crate::{
    failure::{During, Failure},
    format::{self, cell},
    session::Session,
};

/// The versions that have served this store, with the time at which each was first seen.
pub(crate) async fn run(session: &Session) -> Result<(), Failure> {
    let envelope = session.api().list("sys/version-history").await.during("listing the version history")?;
    let data = envelope.and_then(|envelope| envelope.data);
    let data = data.ok_or_else(|| Failure::Nothing("No version is recorded".to_owned()))?;
    session.value(&Value::Object(data.clone()), || table(&data))
}

fn table(data: &Map<String, Value>) -> String {
    let versions = data.get("keys").and_then(Value::as_array).into_iter().flatten().map(format::plain);
    let row = |version: String| {
        let info = data.get("key_info").and_then(|info| info.get(&version)).and_then(Value::as_object);
        let text = |key: &str| info.map(|info| cell(info, key)).unwrap_or_default();
        let row = [text("timestamp_installed"), text("build_date")];
        [vec![version], row.into()].concat()
    };
    format::columns(&["Version", "Installation Time", "Build Date"], &versions.map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn versions_in_columns() {
        let data = json!({
            "keys": ["1.0.0"],
            "key_info": {"1.0.0": {"timestamp_installed": "2026-01-01T00:00:00Z", "build_date": null}},
        });
        let table = super::table(data.as_object().unwrap());
        let expected = "\
Version    Installation Time       Build Date
-------    -----------------       ----------
1.0.0      2026-01-01T00:00:00Z    n/a";
        assert_eq!(table, expected);
    }
}
