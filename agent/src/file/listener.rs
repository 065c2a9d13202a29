//! `listener`, `api_proxy` and `cache`.

use std::net::{SocketAddr, ToSocketAddrs};

use holdfast_hcl::Stanza;

use super::{Reading, auth::octal};
use crate::config::{Address, Error, Listener, UseToken};

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
            let files = (listener.path("tls_cert_file")?, listener.path("tls_key_file")?);
            let plain = listener.bool("tls_disable")?.unwrap_or(false) || matches!(address, Address::Unix(..));
            let tls = match files {
                _ if plain => None,
                (Some(chain), Some(key)) => Some((chain, key)),
                _ => {
                    let reason = "tls_cert_file and tls_key_file are needed, or tls_disable = true";
                    return Err(listener.wrong("", reason).into());
                }
            };
            let mut made = Listener {
                address,
                tls,
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
            listener.not_yet(&["proxy_api", "tls_client_ca_file", "tls_min_version"], &mut self.warnings);
            listener.ignore(&["telemetry", "profiling", "purpose"]);
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

/// `host:port`; without port as Vault's agent.
fn resolve(address: &str) -> Option<SocketAddr> {
    let found = address.to_socket_addrs().or_else(|_| (address, 8200).to_socket_addrs());
    found.ok()?.next()
}
