//! The command line of `holdfast server`, with flags as the vault command takes them: `-x=y`, `-x y`, `--x=y`.

use std::path::PathBuf;

use holdfast_secret::SecretString;

/// What was asked for.
#[derive(Debug, Default)]
pub struct Arguments {
    /// `-config`, repeatable: files and folders.
    pub config: Vec<PathBuf>,
    /// `-dev`
    pub dev: bool,
    /// `-dev-root-token-id`
    pub dev_root_token: Option<SecretString>,
    /// `-dev-listen-address`
    pub dev_listen_address: Option<String>,
    /// `-log-level`
    pub log_level: Option<String>,
    /// `-log-format`
    pub log_format: Option<String>,
    /// `-help`
    pub help: bool,
}

/// For `-help`.
pub const HELP: &str = "\
Usage: holdfast server [options]

  Starts a server.

      $ holdfast server -config=/etc/holdfast/config.hcl
      $ holdfast server -dev

Options:

  -config=<path>               File or folder with configuration, HCL or JSON. May be given more than once.
  -log-level=<level>           trace, debug, info, warn or error, or a filter (HOLDFAST_LOG_LEVEL).
  -log-format=<format>         text or json (HOLDFAST_LOG_FORMAT).
  -dev                         In memory, unsealed, without TLS: for trying things out.
  -dev-root-token-id=<id>      The dev server's root token (HOLDFAST_DEV_ROOT_TOKEN_ID).
  -dev-listen-address=<addr>   Default 127.0.0.1:8200 (HOLDFAST_DEV_LISTEN_ADDRESS).
";

/// An option that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such option.
    #[error("unknown option {0:?}; see holdfast server -help")]
    Unknown(String),
    /// The option needs a value.
    #[error("option -{0} needs a value")]
    NoValue(String),
    /// The option is a switch.
    #[error("option -{0} takes true or false, or nothing")]
    NotASwitch(String),
}

/// Reads what follows `holdfast server`; the environment fills in what is not given.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arguments, Error> {
    let mut parsed = Arguments::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let bare = bare.ok_or_else(|| Error::Unknown(argument.clone()))?;
        let (name, given) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value.to_owned())));
        if let "dev" | "help" | "h" = name {
            let on = switch(name, given)?;
            if name == "dev" {
                parsed.dev = on;
            } else {
                parsed.help = on;
            }
            continue;
        }
        if !["config", "dev-root-token-id", "dev-listen-address", "log-level", "log-format"].contains(&name) {
            return Err(Error::Unknown(argument));
        }
        let value = given.or_else(|| rest.next()).ok_or_else(|| Error::NoValue(name.to_owned()))?;
        match name {
            "config" => parsed.config.push(PathBuf::from(value)),
            "dev-root-token-id" => parsed.dev_root_token = Some(SecretString::new(value)),
            "dev-listen-address" => parsed.dev_listen_address = Some(value),
            "log-level" => parsed.log_level = Some(value),
            _ => parsed.log_format = Some(value),
        }
    }
    let get = |name: &str| ["HOLDFAST", "VAULT"].iter().find_map(|prefix| environment(&format!("{prefix}_{name}")));
    parsed.dev_root_token = parsed.dev_root_token.or_else(|| get("DEV_ROOT_TOKEN_ID").map(SecretString::new));
    parsed.dev_listen_address = parsed.dev_listen_address.or_else(|| get("DEV_LISTEN_ADDRESS"));
    Ok(parsed)
}

fn switch(name: &str, given: Option<String>) -> Result<bool, Error> {
    match given.as_deref() {
        None | Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(_) => Err(Error::NotASwitch(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Arguments, Error> {
        parse(text.split_whitespace().map(str::to_owned), &|name| {
            (name == "VAULT_DEV_LISTEN_ADDRESS").then(|| "127.0.0.1:9".to_owned())
        })
    }

    #[test]
    fn flags_in_every_spelling() {
        let read = read("-config=a --config b -dev --log-level debug -dev-root-token-id=root").unwrap();
        assert_eq!(read.config, [PathBuf::from("a"), PathBuf::from("b")]);
        assert!(read.dev);
        assert_eq!(read.log_level.as_deref(), Some("debug"));
        assert_eq!(read.dev_root_token.unwrap().expose(), "root");
        assert_eq!(read.dev_listen_address.as_deref(), Some("127.0.0.1:9"));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in ["-nope", "config", "-config", "-dev=perhaps"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(!read("-dev=false").unwrap().dev);
    }
}
