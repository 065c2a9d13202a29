//! `listener "tcp"` and `listener "unix"`.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use holdfast_core::Doors;
use holdfast_http::{ClientCertificates, CustomHeaders, Limits, TrustedProxies, Versions};

use serde_json::Value;

use super::Error;
use holdfast_hcl::Stanza;

/// One socket.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where to listen.
    pub address: Address,
    /// `None`: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Sizes and times.
    pub limits: Limits,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Answer `sys/metrics` without a token.
    pub unauthenticated_metrics: bool,
    /// What callers without a token may do with shares of keys.
    pub doors: Doors,
    /// Serve nothing but `sys/metrics`.
    pub metrics_only: bool,
    /// Headers of every answer.
    pub headers: CustomHeaders,
    /// Where this server listens to other servers.
    pub cluster_address: Option<SocketAddr>,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A file.
    Unix(UnixSocket),
}

/// A socket in the file system. Without user, group and mode it is the server's own, as the umask says.
#[derive(Clone, Debug)]
pub struct UnixSocket {
    /// The file.
    pub path: PathBuf,
    /// Permissions.
    pub mode: Option<u32>,
    /// Numeric id of the owner.
    pub user: Option<u32>,
    /// Numeric id of the group.
    pub group: Option<u32>,
}

/// TLS of one socket.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// What is done about certificates of clients.
    pub clients: ClientCertificates,
    /// Versions that are spoken.
    pub versions: Versions,
}

impl ListenerConfig {
    /// Plain HTTP at this address, as the dev server does.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address: Address::Tcp(address),
            tls: None,
            limits: Limits::default(),
            proxies: TrustedProxies::default(),
            unauthenticated_metrics: false,
            doors: Doors::default(),
            metrics_only: false,
            headers: CustomHeaders::default(),
            cluster_address: None,
        }
    }

    /// Reads the stanza.
    pub fn read(kind: &str, stanza: &Stanza<'_>, warnings: &mut Vec<String>) -> Result<Self, Error> {
        let (address, tls) = match kind {
            "tcp" => {
                let address = stanza.string("address")?.unwrap_or_else(|| "127.0.0.1:8200".to_owned());
                let address = resolve(&address).map_err(|reason| stanza.wrong("address", reason))?;
                (Address::Tcp(address), TlsConfig::read(stanza)?)
            }
            "unix" => {
                stanza.ignore(&["tls_disable"]);
                (Address::Unix(UnixSocket::read(stanza)?), None)
            }
            _ => return Err(stanza.wrong("", format!("{kind:?} is not supported; use tcp or unix")).into()),
        };
        let mut listener = Self {
            address,
            tls,
            limits: limits(stanza)?,
            proxies: proxies(stanza)?,
            unauthenticated_metrics: false,
            doors: Doors::default(),
            metrics_only: false,
            headers: custom_headers(stanza)?,
            cluster_address: stanza
                .string("cluster_address")?
                .map(|address| resolve(&address).map_err(|reason| stanza.wrong("cluster_address", reason)))
                .transpose()?,
        };
        // Closed unless the configuration opens them: Vault's own default lets strangers begin and cancel.
        listener.doors = Doors {
            rekey: stanza.bool("disable_unauthed_rekey_endpoints")? == Some(false),
            generate_root: stanza.bool("disable_unauthed_generate_root_endpoints")? == Some(false),
        };
        for (_, telemetry) in stanza.blocks("telemetry", 0)? {
            listener.unauthenticated_metrics = telemetry.bool("unauthenticated_metrics_access")?.unwrap_or(false);
            listener.metrics_only = telemetry.bool("metrics_only")?.unwrap_or(false);
            telemetry.not_yet(&["disallow_metrics"], warnings);
            telemetry.finish(warnings);
        }
        stanza.ignore(&["http_write_timeout"]);
        stanza.ignore(&["redact_addresses", "redact_version"]);
        stanza.ignore(&["redact_cluster_name", "max_request_json_memory", "max_request_json_strings"]);
        stanza.ignore(&["max_json_string_value_length", "max_json_object_entry_count", "max_json_array_element_count"]);
        stanza.not_yet(&["proxy_protocol_behavior", "proxy_protocol_authorized_addrs", "tls_cipher_suites"], warnings);
        stanza.not_yet(&["profiling", "inflight_requests_logging", "cors", "chroot_namespace"], warnings);
        stanza.finish(warnings);
        Ok(listener)
    }

    /// For logs and errors: `listener "tcp" 127.0.0.1:8200`.
    pub fn name(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("listener \"tcp\" {address}"),
            Address::Unix(socket) => format!("listener \"unix\" {}", socket.path.display()),
        }
    }

    /// How clients reach it: `https://127.0.0.1:8200`.
    pub fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) if self.tls.is_some() => format!("https://{address}"),
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(socket) => format!("unix://{}", socket.path.display()),
        }
    }
}

impl UnixSocket {
    fn read(stanza: &Stanza<'_>) -> Result<Self, Error> {
        let mode = stanza.string("socket_mode")?.filter(|mode| !mode.is_empty());
        let mode = mode.map(|mode| {
            let parsed = u32::from_str_radix(mode.trim_start_matches("0o"), 8).ok().filter(|mode| *mode <= 0o777);
            parsed.ok_or_else(|| stanza.wrong("socket_mode", format!("{mode:?} is no octal mode such as 0660")))
        });
        Ok(Self {
            path: PathBuf::from(stanza.required("address")?),
            mode: mode.transpose()?,
            user: id(stanza, "socket_user", "/etc/passwd")?,
            group: id(stanza, "socket_group", "/etc/group")?,
        })
    }
}

/// A numeric id, or a name that is looked up in the file.
fn id(stanza: &Stanza<'_>, key: &'static str, file: &str) -> Result<Option<u32>, Error> {
    let Some(name) = stanza.string(key)?.filter(|name| !name.is_empty()) else { return Ok(None) };
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(':'));
    let id = line.and_then(|rest| rest.split(':').nth(1)?.parse().ok());
    let id = id.ok_or_else(|| stanza.wrong(key, format!("{name:?} is not in {file}; give the number")))?;
    Ok(Some(id))
}

/// `custom_response_headers { "default" = { "Name" = ["value"] } "2xx" = { … } }`
fn custom_headers(stanza: &Stanza<'_>) -> Result<CustomHeaders, Error> {
    let mut headers = CustomHeaders::default();
    for (_, block) in stanza.blocks("custom_response_headers", 0)? {
        for (status, tables) in block.body().to_json() {
            let tables = match tables {
                Value::Array(tables) => tables,
                table => vec![table],
            };
            for (name, values) in tables.iter().filter_map(Value::as_object).flatten() {
                let values: Vec<String> = match values {
                    Value::Array(values) => {
                        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
                    }
                    value => value.as_str().map(str::to_owned).into_iter().collect(),
                };
                headers.add(&status, name, &values).map_err(|error| stanza.wrong("custom_response_headers", error))?;
            }
        }
    }
    Ok(headers)
}

impl TlsConfig {
    fn read(stanza: &Stanza<'_>) -> Result<Option<Self>, Error> {
        let (cert_file, key_file) = (stanza.path("tls_cert_file")?, stanza.path("tls_key_file")?);
        let bundle = stanza.path("tls_client_ca_file")?;
        let require = stanza.bool("tls_require_and_verify_client_cert")?.unwrap_or(false);
        let clients = match (stanza.bool("tls_disable_client_certs")?.unwrap_or(false), require, bundle) {
            (true, true, _) => {
                return Err(stanza
                    .wrong("tls_disable_client_certs", "a certificate cannot be required and not asked for")
                    .into());
            }
            (true, false, _) => ClientCertificates::Off,
            (false, false, _) => ClientCertificates::Ask,
            (false, true, Some(bundle)) => ClientCertificates::Require(bundle),
            (false, true, None) => {
                return Err(stanza
                    .wrong("tls_client_ca_file", "missing; tls_require_and_verify_client_cert needs it")
                    .into());
            }
        };
        let version = |key, default| match stanza.string(key)?.as_deref() {
            None => Ok(default),
            Some("tls12") => Ok(12),
            Some("tls13") => Ok(13),
            Some(other) => Err(stanza.wrong(key, format!("{other:?} is not supported; use tls12 or tls13"))),
        };
        let versions = match (version("tls_min_version", 12)?, version("tls_max_version", 13)?) {
            (12, 13) => Versions::Both,
            (12, _) => Versions::Tls12,
            (_, 13) => Versions::Tls13,
            _ => return Err(stanza.wrong("tls_max_version", "older than tls_min_version").into()),
        };
        if stanza.bool("tls_disable")?.unwrap_or(false) {
            return Ok(None);
        }
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Ok(Some(Self { cert_file, key_file, clients, versions })),
            (None, _) => {
                Err(stanza.wrong("tls_cert_file", "missing; give a certificate, or tls_disable = true").into())
            }
            (_, None) => Err(stanza.wrong("tls_key_file", "missing").into()),
        }
    }
}

fn limits(stanza: &Stanza<'_>) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    let set = |limit: &mut Duration, key| -> Result<(), Error> {
        if let Some(duration) = stanza.duration(key)?.filter(|duration| !duration.is_zero()) {
            *limit = duration;
        }
        Ok(())
    };
    set(&mut limits.request, "max_request_duration")?;
    set(&mut limits.read, "http_read_timeout")?;
    set(&mut limits.head, "http_read_header_timeout")?;
    set(&mut limits.head, "http_idle_timeout")?;
    let count = |limit: &mut usize, key| -> Result<(), Error> {
        if let Some(number) = stanza.number(key)?.filter(|number| *number > 0) {
            *limit = usize::try_from(number).map_err(|_| stanza.wrong(key, "too large"))?;
        }
        Ok(())
    };
    count(&mut limits.body, "max_request_size")?;
    count(&mut limits.anonymous_body, "max_anonymous_request_size")?;
    count(&mut limits.json_depth, "max_json_depth")?;
    count(&mut limits.json_values, "max_json_values")?;
    count(&mut limits.anonymous_json_values, "max_anonymous_json_values")?;
    count(&mut limits.connections, "max_connections")?;
    count(&mut limits.connections_of_one, "max_connections_per_address")?;
    if limits.json_depth > 120 {
        return Err(stanza.wrong("max_json_depth", "at most 120").into());
    }
    Ok(limits)
}

fn proxies(stanza: &Stanza<'_>) -> Result<TrustedProxies, Error> {
    let mut proxies = TrustedProxies::default();
    for text in stanza.list("x_forwarded_for_authorized_addrs")? {
        let network = text.parse().map_err(|error| stanza.wrong("x_forwarded_for_authorized_addrs", error))?;
        proxies.authorized.push(network);
    }
    let skips = stanza.number("x_forwarded_for_hop_skips")?.unwrap_or(0);
    proxies.hop_skips = usize::try_from(skips).map_err(|_| stanza.wrong("x_forwarded_for_hop_skips", "too large"))?;
    if let Some(reject) = stanza.bool("x_forwarded_for_reject_not_present")? {
        proxies.reject_not_present = reject;
    }
    if let Some(reject) = stanza.bool("x_forwarded_for_reject_not_authorized")? {
        proxies.reject_not_authorized = reject;
    }
    Ok(proxies)
}

/// An address with a port; a name is looked up; without host (`:8200`) all addresses are meant.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut found = full.to_socket_addrs().map_err(|error| format!("{text:?}: {error}; give host:port"))?;
    found.next().ok_or_else(|| format!("{text:?}: the name has no address"))
}
