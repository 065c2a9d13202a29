//! Connection URLs: `postgresql://{{username}}:{{password}}@host:5432/db?sslmode=…` or `host=… user={{username}} …`.

use std::{fmt::Write as _, time::Duration};

use tokio_postgres::config::{Host, SslMode};

use super::Failure;
use crate::{config::Config, statements::fill};

/// How far the database's certificate is checked; the names are those of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What to connect to, and as whom.
pub(super) struct Target {
    pub config: tokio_postgres::Config,
    pub mode: Mode,
    /// `host:port`, for errors.
    pub host: String,
    pub user: String,
}

impl Target {
    pub fn new(config: &Config, password: &str, application_name: &str) -> Result<Self, Failure> {
        let url = &config.connection_url;
        let is_url = url.contains("://");
        let escape = |text: &str| match (config.disable_escaping, is_url) {
            (true, _) => text.to_owned(),
            (false, true) => percent(text),
            (false, false) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        };
        let filled = fill(url, &[("username", &escape(&config.username)), ("password", &escape(password))]);
        let (rest, mode) = take_mode(&filled, is_url)?;
        let mode = match mode.as_deref() {
            None | Some("prefer" | "allow") => Mode::Prefer,
            Some("disable") => Mode::Disable,
            Some("require") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some(other) => {
                return Err(Failure::Config(format!(
                    "connection_url: sslmode {other:?} is unknown: use disable, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        // The parser's error could quote the URL, and with it the password.
        let mut parsed: tokio_postgres::Config = rest.parse().map_err(|_| {
            Failure::Config(
                "connection_url cannot be read: use postgresql://{{username}}:{{password}}@host:5432/db".to_owned(),
            )
        })?;
        parsed.application_name(application_name).connect_timeout(Duration::from_secs(5)).ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if parsed.get_password().is_none() && !password.is_empty() {
            parsed.password(password);
        }
        if parsed.get_user().is_none() && !config.username.is_empty() {
            parsed.user(&config.username);
        }
        let host = match parsed.get_hosts().first() {
            Some(Host::Tcp(host)) => format!("{host}:{}", parsed.get_ports().first().unwrap_or(&5432)),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => return Err(Failure::Config("connection_url names no host".to_owned())),
        };
        let user = parsed.get_user().unwrap_or_default().to_owned();
        Ok(Self { config: parsed, mode, host, user })
    }
}

/// A URL as it may be shown: a password that is written into it is masked.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url
            .split_whitespace()
            .map(|part| if part.starts_with("password=") && !part.contains("{{") { "password=*****" } else { part })
            .collect::<Vec<_>>()
            .join(" ");
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = match rest.rfind('@') {
        // A password may hold a slash although it should be escaped.
        Some(at) if at > end => rest.split_at(at),
        _ => rest.split_at(end),
    };
    match authority.rsplit_once('@').unwrap_or((authority, "")) {
        (login, host) if !host.is_empty() || tail.starts_with('@') => match login.split_once(':') {
            Some((user, password)) if !password.contains("{{") => {
                let at = if host.is_empty() { "" } else { "@" };
                format!("{scheme}://{user}:*****{at}{host}{tail}")
            }
            _ => url.to_owned(),
        },
        _ => url.to_owned(),
    }
}

/// Takes `sslmode` out, of which tokio-postgres knows only a part.
fn take_mode(url: &str, is_url: bool) -> Result<(String, Option<String>), Failure> {
    let mut mode = None;
    let mut keep = |pair: &str| match pair.split_once('=') {
        Some(("sslmode", value)) => {
            mode = Some(value.trim_matches('\'').to_owned());
            Ok(false)
        }
        Some(("sslrootcert" | "sslcert" | "sslkey", _)) => Err(Failure::Config(
            "connection_url: give certificates as tls_ca, tls_certificate and private_key, not as files".to_owned(),
        )),
        _ => Ok(true),
    };
    let (head, pairs, separator) = match (is_url, url.split_once('?')) {
        (true, Some((head, query))) => (head, query.split('&').collect::<Vec<_>>(), "&"),
        (true, None) => (url, Vec::new(), "&"),
        // A space in a quoted value splits it here and is put back below.
        (false, _) => ("", url.split(' ').collect(), " "),
    };
    let mut kept = Vec::new();
    for pair in pairs {
        if keep(pair)? {
            kept.push(pair);
        }
    }
    let tail = kept.join(separator);
    let rest = if is_url && !tail.is_empty() { format!("{head}?{tail}") } else { format!("{head}{tail}") };
    Ok((rest, mode))
}

fn percent(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, username: &str, password: &str) -> Result<Target, Failure> {
        let config = Config { connection_url: url.into(), username: username.into(), ..Config::default() };
        Target::new(&config, password, "holdfast")
    }

    #[test]
    fn names_and_passwords_are_escaped() {
        for url in [
            "postgresql://{{username}}:{{password}}@db.shop:5433/app?sslmode=verify-full&application_name=x",
            "host=db.shop port=5433 user={{username}} password={{password}} dbname=app sslmode=verify-full",
        ] {
            let target = target(url, "ro ot", "p@ss/w:rd'\\?&% x").unwrap();
            assert_eq!(target.host, "db.shop:5433");
            assert_eq!(target.user, "ro ot");
            assert_eq!(target.mode, Mode::VerifyFull);
            assert_eq!(target.config.get_password(), Some(b"p@ss/w:rd'\\?&% x".as_slice()), "{url}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_url() {
        let error = target("postgresql://{{username}}:hunter2@host:port/", "u", "").err().unwrap().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(target("postgresql://h/db?sslmode=maybe", "u", "").is_err());
    }

    #[test]
    fn a_password_in_the_url_is_masked() {
        for (url, shown) in [
            ("postgresql://{{username}}:{{password}}@h/db", "postgresql://{{username}}:{{password}}@h/db"),
            ("postgresql://root:hunter2@h:5/db?x=y", "postgresql://root:*****@h:5/db?x=y"),
            ("postgresql://root:hun/ter2@h:5/db", "postgresql://root:*****@h:5/db"),
            ("postgresql://h/db", "postgresql://h/db"),
            ("host=h password=hunter2 user=u", "host=h password=***** user=u"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
