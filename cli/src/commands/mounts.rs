//! What secret engines and auth methods have in common on the command line.

use clap::Args;
use serde_json::{Map, Value};

use crate::{
    failure::{During, Failure},
    format::{self, cell},
    session::Session,
};

/// Settings of a mount.
#[derive(Args)]
pub struct Tuning {
    /// For people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// TTL of leases and tokens that ask for none.
    #[arg(long, value_name = "DURATION")]
    default_lease_ttl: Option<String>,
    /// Longest life of leases and tokens.
    #[arg(long, value_name = "DURATION")]
    max_lease_ttl: Option<String>,
    /// hidden or unauth.
    #[arg(long, value_name = "VISIBILITY")]
    listing_visibility: Option<String>,
    /// service, batch, default-service or default-batch (auth methods).
    #[arg(long, value_name = "TYPE")]
    token_type: Option<String>,
    /// Key of requests that the audit log shows in clear; may be repeated.
    #[arg(long = "audit-non-hmac-request-keys", value_name = "KEY")]
    audit_request_keys: Vec<String>,
    /// Key of answers that the audit log shows in clear; may be repeated.
    #[arg(long = "audit-non-hmac-response-keys", value_name = "KEY")]
    audit_response_keys: Vec<String>,
    /// Header that is passed to the engine; may be repeated.
    #[arg(long, value_name = "NAME")]
    passthrough_request_headers: Vec<String>,
    /// Header that the engine may set; may be repeated.
    #[arg(long, value_name = "NAME")]
    allowed_response_headers: Vec<String>,
    /// Version of kv.
    #[arg(long, value_name = "NUMBER")]
    version: Option<String>,
    /// Option of the engine, key=value; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    options: Vec<String>,
}

impl Tuning {
    /// `config` of a mount.
    fn config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        let texts = [
            ("default_lease_ttl", &self.default_lease_ttl),
            ("max_lease_ttl", &self.max_lease_ttl),
            ("listing_visibility", &self.listing_visibility),
            ("token_type", &self.token_type),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                config.insert(key.to_owned(), Value::from(value.as_str()));
            }
        }
        let lists = [
            ("audit_non_hmac_request_keys", &self.audit_request_keys),
            ("audit_non_hmac_response_keys", &self.audit_response_keys),
            ("passthrough_request_headers", &self.passthrough_request_headers),
            ("allowed_response_headers", &self.allowed_response_headers),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                config.insert(key.to_owned(), Value::from(list.clone()));
            }
        }
        config
    }

    fn all_options(&self) -> Result<Map<String, Value>, Failure> {
        let mut options = Map::new();
        for option in &self.options {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| Failure::local(format!("-options {option:?}: must be key=value")))?;
            options.insert(key.to_owned(), Value::from(value));
        }
        if let Some(version) = &self.version {
            options.insert("version".to_owned(), Value::from(version.as_str()));
        }
        Ok(options)
    }

    /// Body of `POST sys/mounts/:path` and `sys/auth/:path`.
    pub(crate) fn enable(&self, kind: &str) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        body.insert("type".to_owned(), Value::from(kind));
        body.insert("description".to_owned(), Value::from(self.description.clone().unwrap_or_default()));
        body.insert("config".to_owned(), Value::Object(self.config()));
        let options = self.all_options()?;
        if !options.is_empty() {
            body.insert("options".to_owned(), Value::Object(options));
        }
        Ok(body)
    }

    /// Body of `POST …/tune`.
    pub(crate) fn tune(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = self.config();
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), Value::from(description.as_str()));
        }
        let options = self.all_options()?;
        if !options.is_empty() {
            body.insert("options".to_owned(), Value::Object(options));
        }
        Ok(body)
    }
}

/// Prints `sys/mounts`, `sys/auth` or `sys/audit`.
pub(crate) async fn list(session: &Session, path: &str, columns: Columns) -> Result<(), Failure> {
    let data = session.api().data(path).await.during(format_args!("listing {path}"))?;
    if data.is_empty() && columns == Columns::Audit {
        return Err(Failure::Nothing("No audit devices are enabled.".to_owned()));
    }
    session.value(&Value::Object(data.clone()), || table(&data, columns))
}

/// Which columns a list of mounts has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    Secrets,
    Auth,
    Audit,
    Detailed,
}

pub(crate) fn table(mounts: &Map<String, Value>, columns: Columns) -> String {
    let head: &[&str] = match columns {
        Columns::Secrets => &["Path", "Type", "Accessor", "Description"],
        Columns::Auth => &["Path", "Type", "Accessor", "Description", "Version"],
        Columns::Audit => &["Path", "Type", "Description"],
        Columns::Detailed => {
            &["Path", "Type", "Accessor", "Default TTL", "Max TTL", "Options", "Description", "UUID", "Version"]
        }
    };
    let row = |(path, mount): (&String, &Value)| {
        let empty = Map::new();
        let mount = mount.as_object().unwrap_or(&empty);
        let config = mount.get("config").and_then(Value::as_object).unwrap_or(&empty);
        let ttl = |key: &str| match config.get(key).and_then(Value::as_u64) {
            None | Some(0) => "system".to_owned(),
            Some(seconds) => seconds.to_string(),
        };
        let cells = head.iter().map(|title| match *title {
            "Path" => path.clone(),
            "Default TTL" => ttl("default_lease_ttl"),
            "Max TTL" => ttl("max_lease_ttl"),
            "Options" => mount.get("options").filter(|o| !o.is_null()).map_or("map[]".to_owned(), format::plain),
            "UUID" => cell(mount, "uuid"),
            "Version" => cell(mount, "plugin_version"),
            title => cell(mount, &title.to_lowercase()),
        });
        cells.collect()
    };
    let rows: Vec<Vec<String>> = mounts.iter().filter(|(path, _)| path.ends_with('/')).map(row).collect();
    format::columns(head, &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mounts_in_columns() {
        let mounts = json!({
            "cubbyhole/": {"type": "cubbyhole", "accessor": "cubbyhole_71b2a1b1", "description": "per token"},
            "secret/": {"type": "kv", "accessor": "kv_12345678", "description": "",
                "config": {"default_lease_ttl": 0, "max_lease_ttl": 60}, "options": {"version": "2"}, "uuid": "u"},
            "request_id": "not a mount",
        });
        let expected = "\
Path          Type         Accessor              Description
----          ----         --------              -----------
cubbyhole/    cubbyhole    cubbyhole_71b2a1b1    per token
secret/       kv           kv_12345678           n/a";
        let mounts = mounts.as_object().unwrap();
        assert_eq!(table(mounts, Columns::Secrets), expected);
        let detailed = table(mounts, Columns::Detailed);
        assert!(
            detailed
                .contains("secret/       kv           kv_12345678           system         60         map[version:2]")
        );
    }
}
