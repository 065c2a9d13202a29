//! `-output-curl-string` and `-output-policy`: what a request is, instead of the request. Secrets of the body are in what is
//! printed, the token is not.

use holdfast_api_types::header;
use holdfast_client::{Call, Client};
use http::Method;

/// What is printed instead.
#[derive(Clone, Debug)]
pub enum Instead {
    /// A command of curl, with these options for the connection.
    Curl(Vec<String>),
    /// A policy.
    Policy,
}

/// Paths that need `sudo`, as Vault's clients know them; `*` at the end stands for anything.
const SUDO: &[&str] = &[
    "auth/token/accessors",
    "sys/audit",
    "sys/audit/*",
    "sys/auth/*",
    "sys/config/auditing/request-headers",
    "sys/config/auditing/request-headers/*",
    "sys/config/cors",
    "sys/config/ui/headers",
    "sys/config/ui/headers/*",
    "sys/leases",
    "sys/leases/lookup/*",
    "sys/leases/revoke-force/*",
    "sys/leases/revoke-prefix/*",
    "sys/plugins/catalog/*",
    "sys/raw/*",
    "sys/remount",
    "sys/revoke-force/*",
    "sys/revoke-prefix/*",
    "sys/rotate",
    "sys/seal",
    "sys/step-down",
];

impl Instead {
    /// The text for a call.
    pub fn text(&self, client: &Client, call: &Call) -> String {
        match self {
            Self::Curl(options) => curl(options, client, call),
            Self::Policy => policy(call),
        }
    }
}

fn curl(options: &[String], client: &Client, call: &Call) -> String {
    let mut words = vec!["curl".to_owned()];
    words.extend(options.iter().cloned());
    if call.method != Method::GET {
        words.push(format!("-X {}", call.method));
    }
    let mut headers = vec![(header::REQUEST.to_owned(), "true".to_owned())];
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    headers.extend(client.namespace().map(|namespace| (header::NAMESPACE.to_owned(), namespace.to_owned())));
    headers.extend(client.headers().iter().map(|(name, value)| (name.to_string(), text(value))));
    headers.extend(call.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    if call.body.is_some() {
        let patch = call.method == Method::PATCH;
        let kind = if patch { "application/merge-patch+json" } else { "application/json" };
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    words.extend(headers.iter().map(|(name, value)| format!("-H {}", quoted(&format!("{name}: {value}")))));
    if client.token().is_some() {
        words.push(format!("-H \"{}: $(holdfast print token)\"", header::TOKEN));
    }
    if let Some(body) = &call.body {
        words.push(format!("-d {}", quoted(&body.to_string())));
    }
    let query = if call.query.is_empty() { String::new() } else { format!("?{}", call.query) };
    let path = holdfast_client::escape(&call.path);
    words.push(quoted(&format!("{}/v1/{path}{query}", client.address())));
    words.join(" ")
}

/// As one word of the shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

fn policy(call: &Call) -> String {
    let asks = |verb: &str| call.query.split('&').any(|part| part == format!("{verb}=true"));
    let mut capabilities = match call.method {
        Method::GET if asks("list") => vec!["list"],
        Method::GET if asks("scan") => vec!["scan"],
        Method::PUT | Method::POST => vec!["create", "update"],
        Method::PATCH => vec!["patch"],
        Method::DELETE => vec!["delete"],
        _ => vec!["read"],
    };
    let path = call.path.trim_matches('/');
    let needs_sudo = SUDO.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(begin) => path.starts_with(begin) && path.len() > begin.len(),
        None => path == *pattern,
    });
    if needs_sudo {
        capabilities.push("sudo");
    }
    // Lists are of folders.
    let slash = if capabilities[0] == "list" || capabilities[0] == "scan" { "/" } else { "" };
    format!("path {:?} {{\n  capabilities = {capabilities:?}\n}}", format!("{path}{slash}"))
}

#[cfg(test)]
mod tests {
    use holdfast_client::Config;
    use holdfast_secret::SecretString;
    use serde_json::json;

    use super::*;

    fn call(method: Method, path: &str, query: &str) -> Call {
        Call { method, path: path.to_owned(), query: query.to_owned(), ..Call::default() }
    }

    #[test]
    fn a_request_as_curl_makes_it() {
        let client = Client::new(Config { address: "http://h:1".to_owned(), ..Config::default() }).unwrap();
        let client = client.with_token(SecretString::new("hvs.canary")).with_namespace("team");
        let put = Call { body: Some(json!({"a": "it's"})), ..call(Method::PUT, "secret/a b", "") };
        let text = Instead::Curl(vec!["--insecure".to_owned()]).text(&client, &put);
        assert_eq!(
            text,
            "curl --insecure -X PUT -H 'x-vault-request: true' -H 'x-vault-namespace: team' \
             -H 'content-type: application/json' -H \"x-vault-token: $(holdfast print token)\" \
             -d '{\"a\":\"it'\"'\"'s\"}' 'http://h:1/v1/secret/a%20b'"
        );
        let get = Instead::Curl(Vec::new()).text(&client.without_token(), &call(Method::GET, "a", "list=true"));
        assert_eq!(get, "curl -H 'x-vault-request: true' -H 'x-vault-namespace: team' 'http://h:1/v1/a?list=true'");
    }

    #[test]
    fn a_policy_for_a_request() {
        for (method, path, query, expected) in [
            (
                Method::GET,
                "secret/data/a",
                "",
                r#"path "secret/data/a" {
  capabilities = ["read"]
}"#,
            ),
            (
                Method::GET,
                "secret/metadata",
                "list=true&limit=1",
                r#"path "secret/metadata/" {
  capabilities = ["list"]
}"#,
            ),
            (
                Method::PUT,
                "sys/auth/approle",
                "",
                r#"path "sys/auth/approle" {
  capabilities = ["create", "update", "sudo"]
}"#,
            ),
            (
                Method::DELETE,
                "sys/auth",
                "",
                r#"path "sys/auth" {
  capabilities = ["delete"]
}"#,
            ),
        ] {
            assert_eq!(policy(&call(method, path, query)), expected);
        }
    }
}
