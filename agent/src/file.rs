//! Configuration files in the format of Vault's agent, HCL or JSON: several files and folders, later ones adding to and
//! winning over earlier ones; then the environment (`VAULT_ADDR` …, where `HOLDFAST_ADDR` … wins), which wins over all.
//!
//! What is wrong, or asks for what this agent does not do, is an error that names file, block and key; what is unknown is a
//! warning that names the line.

mod auth;
#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "tests say what they expect")]
mod keys;
mod listener;
mod template;
#[cfg(test)]
#[allow(clippy::panic, reason = "tests say what they expect")]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_hcl::{Stanza, StanzaError};

use crate::config::{Auth, Config, Error, Method, Server, UseToken};

/// As Vault's agent: every five minutes.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// As Vault's agent: there is no end to trying.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Tries of one request in Vault's agent.
const RETRIES: u32 = 12;

/// A configuration and what is strange about it.
#[derive(Debug)]
pub struct Loaded {
    /// What the agent is to do.
    pub config: Config,
    /// One line for each thing that has no effect.
    pub warnings: Vec<String>,
}

/// What gathers while files are read.
struct Reading {
    config: Config,
    warnings: Vec<String>,
    retries: u32,
    exit_on_retry_failure: bool,
    use_token: Option<UseToken>,
}

/// Reads files and folders; `environment` answers variables.
pub fn load(paths: &[PathBuf], environment: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Error> {
    let mut reading = Reading::new();
    for path in paths {
        for file in files(path)? {
            let text =
                std::fs::read_to_string(&file).map_err(|source| Error::Unreadable { path: file.clone(), source })?;
            reading.add(&file, &text)?;
        }
    }
    reading.add_environment(environment)?;
    reading.finish()
}

/// An auth method by its type and the keys of its `config`, as a file has them, with what is strange about them; for
/// configurations that come from elsewhere.
pub fn method(kind: &str, parameters: &BTreeMap<String, String>) -> Result<(Auth, Vec<String>), Error> {
    let text = serde_json::json!({ "method": { "type": kind, "config": parameters } }).to_string();
    let file = Path::new("auth-config");
    let body = holdfast_hcl::parse(&text).map_err(|error| Error::File(error.to_string()))?;
    let mut reading = Reading::new();
    let top = Stanza::new(file, "", &body);
    let Some((kind, method)) = top.typed("method")?.pop() else { return Err(top.wrong("method", "missing").into()) };
    let auth = reading.method(&kind, &method)?;
    if reading.config.server.ca_file.is_some() {
        return Err(method.wrong("config ca_cert", "the authority of the server is not the method's to say").into());
    }
    Ok((auth, reading.warnings))
}

/// The files of a folder in order, or the file itself.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Unreadable { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(path).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "hcl" || extension == "json"));
    found.sort();
    if found.is_empty() {
        return Err(Error::File(format!("{}: no .hcl and no .json file in this folder", path.display())));
    }
    Ok(found)
}

impl From<StanzaError> for Error {
    fn from(error: StanzaError) -> Self {
        Self::File(error.to_string())
    }
}

impl Reading {
    fn new() -> Self {
        let config = Config {
            auth: Auth { method: Method::None, ..Auth::default() },
            server: Server { address: "https://127.0.0.1:8200".to_owned(), ..Server::default() },
            refresh: REFRESH,
            init_timeout: FOR_EVER,
            ..Config::default()
        };
        Self { config, warnings: Vec::new(), retries: RETRIES, exit_on_retry_failure: false, use_token: None }
    }

    fn add(&mut self, file: &Path, text: &str) -> Result<(), Error> {
        let body = holdfast_hcl::parse(text).map_err(|error| Error::File(format!("{}: {error}", file.display())))?;
        let top = Stanza::new(file, "", &body);
        let config = &mut self.config;
        config.pid_file = top.path("pid_file")?.or(config.pid_file.take());
        config.exit_after_auth = top.bool("exit_after_auth")?.unwrap_or(config.exit_after_auth);
        config.log_level = top.string("log_level")?.unwrap_or_else(|| std::mem::take(&mut config.log_level));
        config.log_format = top.string("log_format")?.unwrap_or_else(|| std::mem::take(&mut config.log_format));
        // Our own.
        config.status_dir = top.path("status_dir")?.unwrap_or_else(|| std::mem::take(&mut config.status_dir));
        config.init_timeout = top.duration("init_timeout")?.unwrap_or(config.init_timeout);
        config.poll_only = top.bool("poll_only")?.unwrap_or(config.poll_only);
        if let Some(address) = top.string("metrics_address")? {
            config.metrics = Some(address.parse().map_err(|_| top.wrong("metrics_address", "wants host:port"))?);
        }
        // Connections here are few and kept alive by themselves.
        top.ignore(&["disable_idle_connections", "disable_keep_alives", "disable_mlock"]);
        let logs = ["log_file", "log_rotate_duration", "log_rotate_bytes", "log_rotate_max_files"];
        top.not_yet(&logs, &mut self.warnings);
        self.server(&top)?;
        self.auto_auth(&top)?;
        self.templates(&top)?;
        self.exec(&top)?;
        self.listeners(&top)?;
        self.proxy(&top)?;
        for (_, telemetry) in top.blocks("telemetry", 0)? {
            // Metrics are always there in Prometheus' form; other ways out of the process are not.
            telemetry.ignore(&["prometheus_retention_time", "disable_hostname", "usage_gauge_period"]);
            let others =
                ["statsd_address", "statsite_address", "dogstatsd_addr", "dogstatsd_tags", "circonus_api_token"];
            telemetry.not_yet(&others, &mut self.warnings);
            telemetry.finish(&mut self.warnings);
        }
        top.finish(&mut self.warnings);
        Ok(())
    }

    fn server(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        for (_, vault) in top.blocks("vault", 0)? {
            let server = &mut self.config.server;
            server.address = vault.string("address")?.unwrap_or_else(|| std::mem::take(&mut server.address));
            server.namespace = vault.string("namespace")?.or(server.namespace.take());
            server.ca_file = vault.path("ca_cert")?.or(server.ca_file.take());
            server.tls_skip_verify = vault.bool("tls_skip_verify")?.unwrap_or(server.tls_skip_verify);
            server.tls_server_name = vault.string("tls_server_name")?.or(server.tls_server_name.take());
            server.client_certificate = match (vault.path("client_cert")?, vault.path("client_key")?) {
                (Some(chain), Some(key)) => Some((chain, key)),
                (None, None) => server.client_certificate.take(),
                _ => return Err(vault.wrong("client_cert", "client_cert and client_key are needed together").into()),
            };
            if let Some(folder) = vault.path("ca_path")? {
                server.ca_pem = Some(certificates(&folder)?);
            }
            for (_, retry) in vault.blocks("retry", 0)? {
                match retry.string("num_retries")?.map(|text| text.parse::<i64>()) {
                    None | Some(Ok(0)) => {}
                    Some(Ok(number)) => self.retries = u32::try_from(number.max(0)).unwrap_or(u32::MAX),
                    Some(Err(_)) => return Err(retry.wrong("num_retries", "a whole number is needed").into()),
                }
                retry.finish(&mut self.warnings);
            }
            vault.finish(&mut self.warnings);
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
        let variable = |name: &str| {
            let own = environment(&format!("HOLDFAST_{name}")).or_else(|| environment(&format!("VAULT_{name}")));
            own.filter(|value| !value.is_empty())
        };
        let server = &mut self.config.server;
        server.address = variable("ADDR").unwrap_or_else(|| std::mem::take(&mut server.address));
        server.namespace = variable("NAMESPACE").or(server.namespace.take());
        server.tls_server_name = variable("TLS_SERVER_NAME").or(server.tls_server_name.take());
        if let Some(file) = variable("CACERT") {
            (server.ca_file, server.ca_pem) = (Some(PathBuf::from(file)), None);
        }
        if let Some(pem) = variable("CACERT_BYTES") {
            server.ca_pem = Some(pem);
        }
        if let (Some(chain), Some(key)) = (variable("CLIENT_CERT"), variable("CLIENT_KEY")) {
            server.client_certificate = Some((PathBuf::from(chain), PathBuf::from(key)));
        }
        if let Some(skip) = variable("SKIP_VERIFY") {
            let wrong = || Error::File("environment variable VAULT_SKIP_VERIFY: true or false is needed".to_owned());
            server.tls_skip_verify = matches!(skip.as_str(), "1" | "t" | "true");
            if !server.tls_skip_verify && !matches!(skip.as_str(), "0" | "f" | "false") {
                return Err(wrong());
            }
        }
        if self.config.log_level.is_empty() {
            self.config.log_level = variable("LOG_LEVEL").unwrap_or_default();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Loaded, Error> {
        let config = &mut self.config;
        config.proxy.use_token = self.use_token.unwrap_or_default();
        config.give_up_after = self.exit_on_retry_failure.then_some(self.retries);
        let refuse = |text: &str| Err(Error::File(text.to_owned()));
        let anything = !config.sinks.is_empty() || !config.items.is_empty() || !config.listeners.is_empty();
        if !anything && config.exec.is_none() {
            return refuse("nothing to do: give a sink, a template, an env_template with exec, or a listener");
        }
        if config.logs_in() && !anything {
            return refuse("auto_auth: nothing uses the token: give a sink, a template or a listener");
        }
        if !config.logs_in() && !config.items.is_empty() {
            return refuse("auto_auth: missing; templates need it");
        }
        if !config.logs_in() && config.proxy.use_token != UseToken::Never {
            return refuse("api_proxy: use_auto_auth_token needs auto_auth");
        }
        if config.proxy.cache && config.listeners.is_empty() && config.items.is_empty() {
            return refuse("cache: it needs a listener");
        }
        config.check().map_err(Error::File)?;
        Ok(Loaded { config: self.config, warnings: self.warnings })
    }
}

/// All certificates of a folder as one PEM text.
fn certificates(folder: &Path) -> Result<String, Error> {
    let failed = |source| Error::Unreadable { path: folder.to_owned(), source };
    let mut pem = String::new();
    for entry in std::fs::read_dir(folder).map_err(failed)?.flatten() {
        pem.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default());
        pem.push('\n');
    }
    Ok(pem)
}
