//! An answer as a table, and one field of it.

use holdfast_api_types::Envelope;
use serde_json::{Map, Value};

use super::{key_value, plain, seconds, table};

/// The table of an answer; empty when there is nothing in it.
pub fn secret_table(envelope: &Envelope) -> String {
    let rows = rows(envelope);
    if rows.is_empty() { String::new() } else { key_value(&rows) }
}

fn rows(envelope: &Envelope) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |key: &str, value: String| rows.push((key.to_owned(), value));
    if envelope.lease_duration > 0 {
        if envelope.lease_id.is_empty() {
            row("refresh_interval", seconds(envelope.lease_duration));
        } else {
            row("lease_id", envelope.lease_id.clone());
            row("lease_duration", seconds(envelope.lease_duration));
            row("lease_renewable", envelope.renewable.to_string());
        }
    }
    if let Some(auth) = &envelope.auth {
        row("token", auth.client_token.clone());
        row("token_accessor", auth.accessor.clone());
        row("token_duration", if auth.lease_duration == 0 { "∞".to_owned() } else { seconds(auth.lease_duration) });
        row("token_renewable", auth.renewable.to_string());
        row("token_policies", quoted(&auth.token_policies));
        row("identity_policies", quoted(&auth.identity_policies));
        row("policies", quoted(&auth.policies));
        for (key, value) in auth.metadata.iter().flatten() {
            row(&format!("token_meta_{key}"), value.clone());
        }
    }
    if let Some(wrap) = &envelope.wrap_info {
        row("wrapping_token:", wrap.token.clone());
        row("wrapping_accessor:", wrap.accessor.clone());
        row("wrapping_token_ttl:", seconds(wrap.ttl));
        row("wrapping_token_creation_time:", wrap.creation_time.clone());
        row("wrapping_token_creation_path:", wrap.creation_path.clone());
        if !wrap.wrapped_accessor.is_empty() {
            row("wrapped_accessor:", wrap.wrapped_accessor.clone());
        }
    }
    rows.extend(table::rows(envelope.data.as_ref().unwrap_or(&Map::new())));
    rows
}

fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
}

/// One field: of the token, the wrapping, the lease, else of `data`. Text as it is, anything else as JSON.
pub fn field(envelope: &Envelope, name: &str) -> Option<String> {
    let auth = envelope.auth.as_ref();
    let wrap = envelope.wrap_info.as_ref();
    let own = match name {
        "token" => auth.map(|auth| auth.client_token.clone()),
        "token_accessor" => auth.map(|auth| auth.accessor.clone()),
        "token_duration" => auth.map(|auth| auth.lease_duration.to_string()),
        "token_renewable" => auth.map(|auth| auth.renewable.to_string()),
        "token_policies" => auth.map(|auth| super::json(&auth.token_policies)),
        "policies" => auth.map(|auth| super::json(&auth.policies)),
        "wrapping_token" => wrap.map(|wrap| wrap.token.clone()),
        "wrapping_accessor" => wrap.map(|wrap| wrap.accessor.clone()),
        "wrapping_token_ttl" => wrap.map(|wrap| wrap.ttl.to_string()),
        "wrapping_token_creation_time" => wrap.map(|wrap| wrap.creation_time.clone()),
        "wrapping_token_creation_path" => wrap.map(|wrap| wrap.creation_path.clone()),
        "wrapped_accessor" => wrap.map(|wrap| wrap.wrapped_accessor.clone()),
        "lease_id" => Some(envelope.lease_id.clone()).filter(|id| !id.is_empty()),
        "lease_duration" | "refresh_interval" => Some(envelope.lease_duration.to_string()),
        "lease_renewable" => Some(envelope.renewable.to_string()),
        "data" => envelope.data.as_ref().filter(|data| !data.contains_key("data")).map(super::json),
        _ => auth.and_then(|auth| auth.metadata.as_ref()?.get(name.strip_prefix("token_meta_")?).cloned()),
    };
    own.or_else(|| envelope.data.as_ref()?.get(name).map(raw))
}

/// A value alone.
pub fn raw(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => super::json(value),
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn envelope(value: Value) -> Envelope {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_secret_of_kv_v1() {
        let envelope = envelope(json!({"lease_duration": 2_764_800, "data": {"foo": "bar", "n": 1.50, "x": ""}}));
        let expected = "Key                 Value\n---                 -----\nrefresh_interval    768h\nfoo                 bar\nn                   1.5\nx                   n/a";
        assert_eq!(secret_table(&envelope), expected);
        assert_eq!(field(&envelope, "foo").as_deref(), Some("bar"));
        assert_eq!(field(&envelope, "absent"), None);
    }

    #[test]
    fn a_leased_credential() {
        let envelope = envelope(json!({
            "lease_id": "database/creds/r/abc", "lease_duration": 3600, "renewable": true,
            "data": {"username": "u", "password": "p"},
        }));
        let expected = "Key                Value\n---                -----\nlease_id           database/creds/r/abc\nlease_duration     1h\nlease_renewable    true\npassword           p\nusername           u";
        assert_eq!(secret_table(&envelope), expected);
    }

    #[test]
    fn a_token() {
        let envelope = envelope(json!({"data": null, "auth": {
            "client_token": "hvs.x", "accessor": "a", "policies": ["default", "p"], "token_policies": ["default", "p"],
            "lease_duration": 0, "renewable": false, "metadata": {"role": "r"},
        }}));
        let expected = r#"Key                  Value
---                  -----
token                hvs.x
token_accessor       a
token_duration       ∞
token_renewable      false
token_policies       ["default" "p"]
identity_policies    []
policies             ["default" "p"]
token_meta_role      r"#;
        assert_eq!(secret_table(&envelope), expected);
        assert_eq!(field(&envelope, "token").as_deref(), Some("hvs.x"));
        assert_eq!(field(&envelope, "token_meta_role").as_deref(), Some("r"));
    }

    #[test]
    fn nothing_prints_nothing() {
        assert_eq!(secret_table(&Envelope::default()), "");
    }
}
