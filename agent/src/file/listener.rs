//! `listener`, `api_proxy` and `cache`.

use std::net::{SocketAddr, ToSocketAddrs};

use holdfast_hcl::Stanza;

use super::{Reading, auth::octal};
use crate::config::{Address, Error, Listener, Tls, TlsVersion, UseToken};

impl Reading {
    pub(super) fn listeners(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        for (kind, listener) in top.typed("listener")? {
            let address = listener.required("address")?;
            let address = match kind.as_str() {
                "tcp" => Address::Tcp(resolve(&address).ok_or_else(|| {
                    listener.wrong("address", format!("{address:?} is no address such as 127.0.0.1:8200"))
                })?),
                "unix" => {
                    let mode = octal(&listener, "socket_mode")?.unwrap_or_else(|| "0600".to_owned());
                    listener.not_yet(&["socket_user", "socket_group"], &mut self.warnings);
                    Address::Unix(address.into(), mode)
                }
                other => return Err(listener.wrong("type", format!("{other:?} is not known; use tcp or unix")).into()),
            };
            let mut made = Listener {
                tls: tls(&listener, matches!(address, Address::Unix(..)))?,
                address,
                require_request_header: listener.bool("require_request_header")?.unwrap_or(false),
                enable_quit: false,
                metrics_only: match listener.string("role")?.as_deref() {
                    None | Some("" | "default") => false,
                    Some("metrics_only") => true,
                    Some(other) => {
                        return Err(listener
                            .wrong("role", format!("{other:?} is not known; use default or metrics_only"))
                            .into());
                    }
                },
            };
            for (_, api) in listener.blocks("agent_api", 0)? {
                made.enable_quit = api.bool("enable_quit")?.unwrap_or(false);
                api.finish(&mut self.warnings);
            }
            let not_yet = ["proxy_api", "telemetry", "profiling", "purpose"];
            listener.not_yet(&not_yet, &mut self.warnings);
            listener.finish(&mut self.warnings);
            self.config.listeners.push(made);
        }
        Ok(())
    }

    pub(super) fn proxy(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        for (_, proxy) in top.blocks("api_proxy", 0)? {
            self.token_use(&proxy)?;
            // One replica or many: a read follows its write by itself.
            proxy.ignore(&["enforce_consistency", "when_inconsistent"]);
            proxy.finish(&mut self.warnings);
        }
        for (_, cache) in top.blocks("cache", 0)? {
            self.config.proxy.cache = true;
            self.token_use(&cache)?;
            cache.ignore(&["enforce_consistency", "when_inconsistent"]);
            // The credentials of a pod are found again in the server: nothing need be kept on a disk for it.
            cache.ignore(&["persist"]);
            cache.not_yet(
                &["cache_static_secrets", "static_secret_token_capability_refresh_interval"],
                &mut self.warnings,
            );
            cache.finish(&mut self.warnings);
        }
        Ok(())
    }

    fn token_use(&mut self, stanza: &Stanza<'_>) -> Result<(), Error> {
        let Some(text) = stanza.string("use_auto_auth_token")? else { return Ok(()) };
        if self.use_token.is_some() {
            let reason = "it stands in api_proxy or in cache, not in both";
            return Err(stanza.wrong("use_auto_auth_token", reason).into());
        }
        self.use_token = Some(match text.as_str() {
            "true" | "1" => UseToken::Missing,
            "force" => UseToken::Always,
            "false" | "0" | "" => UseToken::Never,
            other => {
                let reason = format!("{other:?} is not known; use true, false or \"force\"");
                return Err(stanza.wrong("use_auto_auth_token", reason).into());
            }
        });
        Ok(())
    }
}

/// TLS as the block says it. What would keep somebody out is done or refused, never left out.
fn tls(listener: &Stanza<'_>, unix: bool) -> Result<Option<Tls>, Error> {
    let files = (listener.path("tls_cert_file")?, listener.path("tls_key_file")?);
    let client_ca = listener.path("tls_client_ca_file")?;
    let required = listener.bool("tls_require_and_verify_client_cert")?;
    let off = listener.bool("tls_disable_client_certs")?.unwrap_or(false);
    let versions = (listener.string("tls_min_version")?, listener.string("tls_max_version")?);
    if listener.value("tls_cipher_suites").is_some() {
        return Err(listener.wrong("tls_cipher_suites", "cannot be chosen; all that are spoken are good").into());
    }
    listener.ignore(&["tls_prefer_server_cipher_suites"]);
    let client_ca = match (client_ca, required.unwrap_or(!off)) {
        (Some(_), true) if off => {
            let reason = "a certificate cannot be required and not asked for";
            return Err(listener.wrong("tls_disable_client_certs", reason).into());
        }
        (Some(file), true) => Some(file),
        (None, true) if required.is_some() => {
            let reason = "missing; tls_require_and_verify_client_cert needs it";
            return Err(listener.wrong("tls_client_ca_file", reason).into());
        }
        _ => None,
    };
    if listener.bool("tls_disable")?.unwrap_or(false) || unix {
        return match client_ca {
            Some(_) => Err(listener.wrong("tls_client_ca_file", "needs TLS, and there is none here").into()),
            None => Ok(None),
        };
    }
    let (Some(chain), Some(key)) = files else {
        let reason = "tls_cert_file and tls_key_file are needed, or tls_disable = true";
        return Err(listener.wrong("", reason).into());
    };
    let only = match (versions.0.as_deref(), versions.1.as_deref()) {
        // Nothing older is spoken anyway.
        (None | Some("" | "tls10" | "tls11" | "tls12"), None | Some("" | "tls13")) => None,
        (None | Some("" | "tls10" | "tls11" | "tls12"), Some("tls12")) => Some(TlsVersion::Tls12),
        (Some("tls13"), None | Some("" | "tls13")) => Some(TlsVersion::Tls13),
        (oldest, newest) => {
            let (oldest, newest) = (oldest.unwrap_or("tls12"), newest.unwrap_or("tls13"));
            let reason = format!("{oldest:?} to {newest:?} cannot be done; use tls12 or tls13");
            return Err(listener.wrong("tls_min_version", reason).into());
        }
    };
    Ok(Some(Tls { chain, key, client_ca, only }))
}

/// `host:port`; without port as Vault's agent.
fn resolve(address: &str) -> Option<SocketAddr> {
    let found = address.to_socket_addrs().or_else(|_| (address, 8200).to_socket_addrs());
    found.ok()?.next()
}
