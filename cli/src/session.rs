//! One run of a command: connection, token, how to print.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_api_types::Envelope;
use holdfast_client::{Client, Config, read_pem};
use holdfast_secret::SecretString;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::{
    api::Api,
    environment::Environment,
    failure::Failure,
    format::{self, Format},
    instead::{Instead, quoted},
    options::Global,
    token_file::TokenFile,
};

/// One run of a command.
pub struct Session {
    api: Api,
    format: Format,
    field: Option<String>,
    home: Option<PathBuf>,
    token_from_environment: bool,
    non_interactive: bool,
}

// === impl Session ===

impl Session {
    /// Reads flags, environment, certificates and the stored token. Connects to nothing yet.
    pub fn open(global: &Global, environment: &Environment<'_>) -> Result<Self, Failure> {
        let format = match (global.format, environment.get("FORMAT")) {
            (Some(format), _) => format,
            (None, None) => Format::default(),
            (None, Some(text)) => clap::ValueEnum::from_str(&text, true)
                .map_err(|_| Failure::local(format!("Invalid output format: {text}")))?,
        };
        let home = environment.plain("HOME").map(PathBuf::from);
        let mut client =
            Client::new(config(global, environment)?).map_err(|error| Failure::local(error.to_string()))?;
        let stored = || match &home {
            Some(home) => TokenFile::in_home(home)
                .read()
                .map_err(|error| Failure::local(format!("Error reading ~/.vault-token: {error}"))),
            None => Ok(None),
        };
        let from_environment = environment.get("TOKEN").map(SecretString::new);
        let token_from_environment = from_environment.is_some();
        let token = match from_environment {
            Some(token) => Some(token),
            None => stored()?,
        };
        if let Some(token) = token {
            client = client.with_token(token);
        }
        let namespace = global.namespace.clone().or_else(|| environment.get("NAMESPACE"));
        if let Some(namespace) = namespace.filter(|namespace| !namespace.trim_matches('/').is_empty()) {
            client = client.with_namespace(&namespace);
        }
        client = client.with_headers(headers(global, environment)?);
        let wrap_ttl = global.wrap_ttl.clone().or_else(|| environment.get("WRAP_TTL"));
        Ok(Self {
            api: Api::new(client, wrap_ttl).printing(instead(global, environment)),
            format,
            field: global.field.clone(),
            home,
            token_from_environment,
            non_interactive: global.non_interactive,
        })
    }

    /// The server.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// How to print.
    pub fn format(&self) -> Format {
        self.format
    }

    /// May somebody at a terminal be asked for what is missing?
    pub fn asks(&self) -> bool {
        !self.non_interactive
    }

    /// Is a table wanted, with the friendly lines around it?
    pub fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Pretty) && self.field.is_none()
    }

    /// The field that alone is to be printed.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The token helper.
    pub fn token_file(&self) -> Result<TokenFile, Failure> {
        let home = self.home.as_deref().ok_or_else(|| Failure::local("HOME is not set: nowhere to keep the token"))?;
        Ok(TokenFile::in_home(home))
    }

    /// Does a token in the environment hide the stored one?
    pub fn token_from_environment(&self) -> bool {
        self.token_from_environment
    }

    /// A line, or lines, on standard output. Nothing for empty text.
    pub fn print(&self, text: &str) {
        if !text.is_empty() {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    /// A friendly line: only where a table would be printed.
    pub fn say(&self, text: &str) {
        if self.is_table() {
            self.print(text);
        }
    }

    /// A line on standard error.
    pub fn warn(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// One value alone; a line feed only on a terminal, so that a pipe gets the value itself.
    pub fn print_alone(&self, text: &str) {
        let mut out = std::io::stdout();
        let end = if out.is_terminal() { "\n" } else { "" };
        let _ = write!(out, "{text}{end}");
        let _ = out.flush();
    }

    /// An answer: the wanted field, or all of it in the wanted format.
    pub fn secret(&self, envelope: &Envelope) -> Result<(), Failure> {
        if let Some(name) = &self.field {
            let value = format::field(envelope, name);
            self.print_alone(&value.ok_or_else(|| missing(name))?);
            return Ok(());
        }
        if self.is_table() {
            self.warnings(envelope);
        }
        self.print(&format::secret(self.format, envelope));
        Ok(())
    }

    /// An answer, or a friendly line when there is none.
    pub fn secret_or(&self, envelope: Option<&Envelope>, line: &str) -> Result<(), Failure> {
        match envelope {
            Some(envelope) if has_content(envelope) || !self.is_table() => self.secret(envelope),
            other => {
                if let Some(envelope) = other {
                    self.warnings(envelope);
                }
                self.say(line);
                Ok(())
            }
        }
    }

    /// A value: the wanted field, or all of it in the wanted format.
    pub fn value(&self, value: &Value, table: impl FnOnce() -> String) -> Result<(), Failure> {
        if let Some(name) = &self.field {
            let value = value.get(name).map(format::plain);
            self.print_alone(&value.ok_or_else(|| missing(name))?);
            return Ok(());
        }
        self.print(&format::value(self.format, value, table));
        Ok(())
    }

    /// What the server wants people to know.
    pub fn warnings(&self, envelope: &Envelope) {
        if let Some(warnings) = envelope.warnings.as_ref().filter(|warnings| !warnings.is_empty()) {
            self.warn("WARNING! The following warnings were returned from the server:\n");
            for warning in warnings {
                self.warn(&format!("  * {warning}"));
            }
            self.warn("");
        }
    }
}

/// Is there more than warnings?
pub(crate) fn has_content(envelope: &Envelope) -> bool {
    envelope.data.is_some() || envelope.auth.is_some() || envelope.wrap_info.is_some() || !envelope.lease_id.is_empty()
}

fn missing(name: &str) -> Failure {
    Failure::local(format!("Field {name:?} not present in secret"))
}

fn config(global: &Global, environment: &Environment<'_>) -> Result<Config, Failure> {
    let setting = |flag: &Option<String>, name: &str| flag.clone().or_else(|| environment.get(name));
    let pem = |path: &str| read_pem(Path::new(path)).map_err(|error| Failure::local(error.to_string()));
    let ca_pem = match (setting(&global.ca_cert, "CACERT"), setting(&global.ca_path, "CAPATH")) {
        (Some(file), _) => Some(pem(&file)?),
        (None, Some(folder)) => Some(all_pem(Path::new(&folder))?),
        (None, None) => None,
    };
    let identity_pem = match (setting(&global.client_cert, "CLIENT_CERT"), setting(&global.client_key, "CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((pem(&certificate)?, pem(&key)?)),
        (None, None) => None,
        _ => return Err(Failure::local("both client cert and client key must be provided")),
    };
    let timeout = match environment.get("CLIENT_TIMEOUT") {
        None => None,
        Some(text) => Some(holdfast_base::duration::parse(&text).map_err(|error| Failure::local(error.to_string()))?),
    };
    Ok(Config {
        address: setting(&global.address, "ADDR").unwrap_or_else(|| "https://127.0.0.1:8200".to_owned()),
        ca_file: None,
        ca_pem,
        identity_pem,
        tls_skip_verify: global.tls_skip_verify || environment.truth("SKIP_VERIFY"),
        tls_server_name: setting(&global.tls_server_name, "TLS_SERVER_NAME"),
        timeout: timeout.filter(|timeout| *timeout > Duration::ZERO),
    })
}

/// What every request carries by the flags.
fn headers(global: &Global, environment: &Environment<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    let mut headers = Vec::new();
    for given in &global.header {
        let wrong = |why: &str| Failure::local(format!("-header {given:?}: {why}"));
        let (name, value) = given.split_once('=').ok_or_else(|| wrong("must be key=value"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong("this is no name of a header"))?;
        if name.as_str().starts_with("x-vault-") {
            return Err(wrong("headers that begin with X-Vault- have flags of their own"));
        }
        headers.push((name, HeaderValue::try_from(value.trim()).map_err(|_| wrong("this is no value of a header"))?));
    }
    let factors = match global.mfa.as_slice() {
        [] => environment.get("MFA").into_iter().collect(),
        given => given.to_vec(),
    };
    for factor in factors {
        // It may be a passcode: it is not repeated in the error.
        let mut value = HeaderValue::try_from(factor).map_err(|_| Failure::local("-mfa: no header may carry this"))?;
        value.set_sensitive(true);
        headers.push((HeaderName::from_static("x-vault-mfa"), value));
    }
    if global.policy_override {
        headers.push((HeaderName::from_static("x-vault-policy-override"), HeaderValue::from_static("true")));
    }
    Ok(headers)
}

/// What is printed instead of asking, and how curl reaches the server.
fn instead(global: &Global, environment: &Environment<'_>) -> Option<Instead> {
    if global.output_policy {
        return Some(Instead::Policy);
    }
    let file = |option: &str, flag: &Option<String>, name: &str| {
        let file = flag.clone().or_else(|| environment.get(name))?;
        Some(format!("{option} {}", quoted(&file)))
    };
    let skip = global.tls_skip_verify || environment.truth("SKIP_VERIFY");
    let options = skip.then(|| "--insecure".to_owned()).into_iter().chain(
        [
            file("--cacert", &global.ca_cert, "CACERT"),
            file("--capath", &global.ca_path, "CAPATH"),
            file("--cert", &global.client_cert, "CLIENT_CERT"),
            file("--key", &global.client_key, "CLIENT_KEY"),
        ]
        .into_iter()
        .flatten(),
    );
    global.output_curl_string.then(|| Instead::Curl(options.collect()))
}

fn all_pem(folder: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |error: std::io::Error| Failure::local(format!("Error reading {}: {error}", folder.display()));
    let mut pem = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_file() {
            pem.extend(std::fs::read(path).map_err(fail)?);
            pem.push(b'\n');
        }
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_ones_own_and_of_a_second_factor() {
        let source = |name: &str| (name == "VAULT_MFA").then(|| "totp:123456".to_owned());
        let environment = Environment::new(&source);
        let given = |header: &str| Global { header: vec![header.to_owned()], ..Global::default() };
        let made = headers(&Global { policy_override: true, ..given("X-Trace=a=b") }, &environment).unwrap();
        let made: Vec<_> = made.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(made, [("x-trace", "a=b"), ("x-vault-mfa", "totp:123456"), ("x-vault-policy-override", "true")]);
        for wrong in ["X-Vault-Token=x", "none", "a b=c", "x=a\u{1}"] {
            assert!(headers(&given(wrong), &environment).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_the_file() {
        let home = tempfile::tempdir().unwrap();
        TokenFile::in_home(home.path()).write(&SecretString::new("from-file")).unwrap();
        let open = |token: Option<&str>, global: Global| {
            let (home, token) = (home.path().display().to_string(), token.map(str::to_owned));
            let source = move |name: &str| match name {
                "HOME" => Some(home.clone()),
                "VAULT_TOKEN" => token.clone(),
                "VAULT_ADDR" => Some("http://env:1".to_owned()),
                "VAULT_FORMAT" => Some("JSON".to_owned()),
                _ => None,
            };
            Session::open(&global, &Environment::new(&source))
        };
        let session = open(None, Global::default()).unwrap_or_else(|_| panic!());
        assert_eq!(session.api.client().token().map(SecretString::expose), Some("from-file"));
        assert_eq!(session.api.client().address(), "http://env:1");
        assert_eq!(session.format(), Format::Json);
        let global = Global { address: Some("http://flag:2".to_owned()), ..Global::default() };
        let session = open(Some("from-env"), global).unwrap_or_else(|_| panic!());
        assert_eq!(session.api.client().token().map(SecretString::expose), Some("from-env"));
        assert_eq!(session.api.client().address(), "http://flag:2");
        let half = Global { client_cert: Some("x".to_owned()), ..Global::default() };
        assert!(open(None, half).is_err());
    }
}
