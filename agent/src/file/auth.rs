//! `auto_auth`: the method and the sinks.

use std::path::PathBuf;

use holdfast_hcl::{Stanza, Value};

use super::Reading;
use crate::config::{Auth, Error, Method, Sink};

/// Where pods have their token.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Methods of Vault's agent that need a cloud's or a directory's own protocol.
const FOREIGN: [&str; 8] = ["alicloud", "aws", "azure", "cf", "gcp", "kerberos", "ldap", "oci"];

impl Reading {
    pub(super) fn auto_auth(&mut self, top: &Stanza<'_>) -> Result<(), Error> {
        for (_, auto_auth) in top.blocks("auto_auth", 0)? {
            for (label, method) in auto_auth.typed("method")? {
                if self.config.logs_in() {
                    return Err(method.wrong("", "there is another method already; one agent logs in once").into());
                }
                self.config.auth = self.method(&label, &method)?;
            }
            for (label, sink) in auto_auth.typed("sink")? {
                let sink = self.sink(&label, &sink)?;
                self.config.sinks.push(sink);
            }
            auto_auth.not_yet(&["enable_reauth_on_new_credentials"], &mut self.warnings);
            auto_auth.finish(&mut self.warnings);
        }
        Ok(())
    }

    pub(super) fn method(&mut self, kind: &str, method: &Stanza<'_>) -> Result<Auth, Error> {
        let mount = method.string("mount_path")?.unwrap_or_else(|| format!("auth/{kind}"));
        let mut auth = Auth {
            mount: mount.trim_matches('/').trim_start_matches("auth/").to_owned(),
            namespace: method.string("namespace")?,
            exit_on_error: method.bool("exit_on_err")?.unwrap_or(false),
            min_backoff: method.duration("min_backoff")?,
            max_backoff: method.duration("max_backoff")?,
            ..Auth::default()
        };
        if method.duration("wrap_ttl")?.is_some_and(|ttl| !ttl.is_zero()) {
            let reason =
                "a token that is wrapped at login cannot be used by the agent; wrap it in the sink (wrap_ttl there)";
            return Err(method.wrong("wrap_ttl", reason).into());
        }
        let mut configs = method.blocks("config", 0)?;
        let Some((_, config)) = configs.pop() else {
            return Err(method.wrong("config", "missing").into());
        };
        let path =
            |key| -> Result<PathBuf, Error> { config.path(key)?.ok_or_else(|| config.wrong(key, "missing").into()) };
        match kind {
            "kubernetes" => {
                auth.role = config.string("role")?.unwrap_or_default();
                auth.token_path = config.path("token_path")?.unwrap_or_else(|| PathBuf::from(POD_TOKEN));
            }
            "jwt" => {
                auth.role = config.string("role")?.unwrap_or_default();
                auth.token_path = path("path")?;
                let remove = config.bool("remove_jwt_after_reading")?.unwrap_or(true);
                let not_yet = ["remove_jwt_follows_symlinks", "jwt_read_period", "skip_token_renewal"];
                config.not_yet(&not_yet, &mut self.warnings);
                auth.method = Method::Jwt { remove };
            }
            "approle" => {
                auth.method = Method::Approle {
                    role_id: path("role_id_file_path")?,
                    secret_id: config.path("secret_id_file_path")?,
                    wrapped_at: config.string("secret_id_response_wrapping_path")?.filter(|path| !path.is_empty()),
                    remove: config.bool("remove_secret_id_file_after_reading")?.unwrap_or(true),
                };
            }
            "cert" => {
                auth.role = config.string("name")?.unwrap_or_default();
                let files = match (config.path("client_cert")?, config.path("client_key")?) {
                    (Some(chain), Some(key)) => Some((chain, key)),
                    (None, None) => None,
                    _ => {
                        return Err(config
                            .wrong("client_cert", "client_cert and client_key are needed together")
                            .into());
                    }
                };
                if let Some(authority) = config.path("ca_cert")? {
                    self.config.server.ca_file = Some(authority);
                }
                // The files are read at every login.
                config.ignore(&["reload"]);
                auth.method = Method::Cert { files };
            }
            "token_file" => {
                auth.token_path = path("token_file_path")?;
                auth.method = Method::TokenFile;
            }
            other => {
                let known = "use kubernetes, jwt, approle, cert or token_file";
                let why = if FOREIGN.contains(&other) { "is not supported" } else { "is not known" };
                return Err(method.wrong("type", format!("{other:?} {why}; {known}")).into());
            }
        }
        config.finish(&mut self.warnings);
        method.finish(&mut self.warnings);
        Ok(auth)
    }

    fn sink(&mut self, kind: &str, sink: &Stanza<'_>) -> Result<Sink, Error> {
        if kind != "file" {
            return Err(sink.wrong("type", format!("{kind:?} is not known; use file")).into());
        }
        for key in ["dh_type", "dh_path", "derive_key", "aad", "aad_env_var"] {
            if sink.string(key)?.is_some_and(|value| !value.is_empty() && value != "false") {
                let reason = "encrypting sinks are not supported; use wrap_ttl, and a volume in memory";
                return Err(sink.wrong(key, reason).into());
            }
        }
        let mut configs = sink.blocks("config", 0)?;
        let Some((_, config)) = configs.pop() else { return Err(sink.wrong("config", "missing").into()) };
        let path = config.path("path")?.ok_or_else(|| config.wrong("path", "missing"))?;
        let owner =
            (config.string("owner")?.or(config.string("uid")?), config.string("group")?.or(config.string("gid")?));
        let made = Sink {
            path,
            mode: octal(&config, "mode")?.unwrap_or_else(|| "0640".to_owned()),
            owner: match owner {
                (None, None) => None,
                (user, group) => Some((user.unwrap_or_default(), group.unwrap_or_default())),
            },
            wrap_ttl: sink.duration("wrap_ttl")?.filter(|ttl| !ttl.is_zero()),
        };
        config.finish(&mut self.warnings);
        sink.finish(&mut self.warnings);
        Ok(made)
    }
}

/// Permission bits: text in octal; a number as HCL has read it, which knows `0640` for octal.
pub(super) fn octal(stanza: &Stanza<'_>, key: &'static str) -> Result<Option<String>, Error> {
    let Some(text) = stanza.string(key)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let bits = match stanza.value(key) {
        Some(Value::Number(number)) => number.as_u64().and_then(|bits| u32::try_from(bits).ok()),
        _ => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
    };
    let bits = bits.filter(|bits| *bits <= 0o777);
    let bits = bits.ok_or_else(|| stanza.wrong(key, format!("{text:?} is no octal mode such as 0640")))?;
    Ok(Some(format!("{bits:04o}")))
}
