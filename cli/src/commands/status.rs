//! `status`, and the table of a seal status.

use http::Method;
use serde_json::{Map, Value};

use crate::{
    failure::Failure,
    format::{self, cell},
    session::Session,
};

/// Shows the seal status. Exit code 2 when sealed, 1 when the server does not answer.
pub(crate) async fn run(session: &Session) -> Result<(), Failure> {
    let status = session.api().bare(Method::GET, "sys/seal-status", None).await;
    let status = status.map_err(|error| Failure::local(format!("Error checking seal status: {error}")))?;
    let leader = session.api().bare(Method::GET, "sys/leader", None).await.unwrap_or_default();
    let sealed = status.get("sealed").and_then(Value::as_bool).unwrap_or(true);
    session.value(&Value::Object(status.clone()), || table(&status, &leader))?;
    if sealed { Err(Failure::Quiet(2)) } else { Ok(()) }
}

/// The table of a seal status, with what is known of high availability.
pub(crate) fn table(status: &Map<String, Value>, leader: &Map<String, Value>) -> String {
    let truth = |key: &str| status.get(key).and_then(Value::as_bool).unwrap_or(false);
    // Without recovery shares a stored key is all there is: nobody is waited for.
    let alone = truth("recovery_seal") && status.get("n").and_then(Value::as_u64) == Some(0);
    let recovery = truth("recovery_seal") && !alone;
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |key: &str, value: String| rows.push((key.to_owned(), value));
    if recovery {
        row("Recovery Seal Type", cell(status, "type"));
    } else {
        row("Seal Type", cell(status, "type"));
    }
    row("Initialized", truth("initialized").to_string());
    row("Sealed", truth("sealed").to_string());
    if status.contains_key("reason") {
        row("Sealed Because", cell(status, "reason"));
    }
    if !alone {
        row(if recovery { "Total Recovery Shares" } else { "Total Shares" }, cell(status, "n"));
        row("Threshold", cell(status, "t"));
    }
    if truth("sealed") && !alone {
        row("Unseal Progress", format!("{}/{}", cell(status, "progress"), cell(status, "t")));
        row("Unseal Nonce", cell(status, "nonce"));
    }
    if truth("migration") {
        row("Seal Migration in Progress", "true".to_owned());
    }
    for (title, key) in [
        ("Version", "version"),
        ("Build Date", "build_date"),
        ("Storage Type", "storage_type"),
        ("Cluster Name", "cluster_name"),
        ("Cluster ID", "cluster_id"),
    ] {
        let value = cell(status, key);
        if !value.is_empty() || !key.starts_with("cluster") {
            row(title, value);
        }
    }
    let enabled = leader.get("ha_enabled").and_then(Value::as_bool).unwrap_or(false);
    row("HA Enabled", enabled.to_string());
    if enabled && !truth("sealed") {
        row("HA Cluster", cell(leader, "leader_cluster_address"));
        row("HA Mode", if leader.get("is_self") == Some(&Value::Bool(true)) { "active" } else { "standby" }.to_owned());
        row("Active Node Address", cell(leader, "leader_address"));
    }
    format::key_value(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sealed_shows_its_progress() {
        let status = json!({"type": "shamir", "initialized": true, "sealed": true, "t": 3, "n": 5, "progress": 1,
            "nonce": "", "version": "0.1.0", "build_date": "2026-11-23T00:00:00Z", "storage_type": "etcd"});
        let expected = "\
Key                Value
---                -----
Seal Type          shamir
Initialized        true
Sealed             true
Total Shares       5
Threshold          3
Unseal Progress    1/3
Unseal Nonce       n/a
Version            0.1.0
Build Date         2026-11-23T00:00:00Z
Storage Type       etcd
HA Enabled         false";
        assert_eq!(table(status.as_object().unwrap(), &Map::new()), expected);
    }

    #[test]
    fn a_stored_key_without_recovery_shares_claims_none_and_says_why_it_is_sealed() {
        let status = json!({"type": "static", "initialized": true, "sealed": true, "t": 0, "n": 0, "progress": 0,
            "nonce": "", "version": "0.1.0", "build_date": "2026-11-23T00:00:00Z", "storage_type": "etcd",
            "recovery_seal": true, "reason": "the store is out of space"});
        let expected = "\
Key               Value
---               -----
Seal Type         static
Initialized       true
Sealed            true
Sealed Because    the store is out of space
Version           0.1.0
Build Date        2026-11-23T00:00:00Z
Storage Type      etcd
HA Enabled        false";
        assert_eq!(table(status.as_object().unwrap(), &Map::new()), expected);
    }
}
