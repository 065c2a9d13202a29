//! `listener "tcp"`.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use holdfast_http::{ClientCertificates, Limits, MinVersion, TrustedProxies};

use super::{Error, Stanza};

/// One socket.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Sizes and times.
    pub limits: Limits,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Answer `sys/metrics` without a token.
    pub unauthenticated_metrics: bool,
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
    /// Oldest version that is spoken.
    pub oldest: MinVersion,
}

impl ListenerConfig {
    /// Plain HTTP at this address, as the dev server does.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            limits: Limits::default(),
            proxies: TrustedProxies::default(),
            unauthenticated_metrics: false,
        }
    }

    /// Reads the stanza.
    pub fn read(kind: &str, stanza: &Stanza<'_>, warnings: &mut Vec<String>) -> Result<Self, Error> {
        if kind != "tcp" {
            return Err(stanza.wrong("", format!("{kind:?} is not supported; use tcp")));
        }
        let address = stanza.string("address")?.unwrap_or_else(|| "127.0.0.1:8200".to_owned());
        let mut listener = Self::plain(resolve(&address).map_err(|reason| stanza.wrong("address", reason))?);
        listener.tls = TlsConfig::read(stanza)?;
        listener.limits = limits(stanza)?;
        listener.proxies = proxies(stanza)?;
        for (_, telemetry) in stanza.blocks("telemetry", 0)? {
            if let Some(open) = telemetry.bool("unauthenticated_metrics_access")? {
                listener.unauthenticated_metrics = open;
            }
            telemetry.not_yet(&["metrics_only", "disallow_metrics"], warnings);
            telemetry.finish(warnings);
        }
        stanza.ignore(&["cluster_address", "http_write_timeout", "disable_unauthed_rekey_endpoints"]);
        stanza.ignore(&["disable_unauthed_generate_root_endpoints", "redact_addresses", "redact_version"]);
        stanza.ignore(&["max_request_json_memory", "max_request_json_strings", "chroot_namespace"]);
        stanza.not_yet(
            &["proxy_protocol_behavior", "proxy_protocol_authorized_addrs", "tls_cipher_suites", "tls_max_version"],
            warnings,
        );
        stanza.not_yet(&["custom_response_headers", "profiling", "inflight_requests_logging", "cors"], warnings);
        stanza.finish(warnings);
        Ok(listener)
    }
}

impl TlsConfig {
    fn read(stanza: &Stanza<'_>) -> Result<Option<Self>, Error> {
        let (cert_file, key_file) = (stanza.path("tls_cert_file")?, stanza.path("tls_key_file")?);
        let bundle = stanza.path("tls_client_ca_file")?;
        let require = stanza.bool("tls_require_and_verify_client_cert")?.unwrap_or(false);
        let clients = match (stanza.bool("tls_disable_client_certs")?.unwrap_or(false), require, bundle) {
            (true, true, _) => {
                return Err(
                    stanza.wrong("tls_disable_client_certs", "a certificate cannot be required and not asked for")
                );
            }
            (true, false, _) => ClientCertificates::Off,
            (false, false, _) => ClientCertificates::Ask,
            (false, true, Some(bundle)) => ClientCertificates::Require(bundle),
            (false, true, None) => {
                return Err(stanza.wrong("tls_client_ca_file", "missing; tls_require_and_verify_client_cert needs it"));
            }
        };
        let oldest = match stanza.string("tls_min_version")?.as_deref() {
            None | Some("tls12") => MinVersion::Tls12,
            Some("tls13") => MinVersion::Tls13,
            Some(other) => {
                return Err(stanza.wrong("tls_min_version", format!("{other:?} is not supported; use tls12 or tls13")));
            }
        };
        if stanza.bool("tls_disable")?.unwrap_or(false) {
            return Ok(None);
        }
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Ok(Some(Self { cert_file, key_file, clients, oldest })),
            (None, _) => Err(stanza.wrong("tls_cert_file", "missing; give a certificate, or tls_disable = true")),
            (_, None) => Err(stanza.wrong("tls_key_file", "missing")),
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
    if let Some(bytes) = stanza.number("max_request_size")?.filter(|bytes| *bytes > 0) {
        limits.body = usize::try_from(bytes).map_err(|_| stanza.wrong("max_request_size", "too large"))?;
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
