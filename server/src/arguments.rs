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
    /// `-dev-kv-v1`
    pub dev_kv_v1: bool,
    /// `-dev-no-store-token`
    pub dev_no_store_token: bool,
    /// `-log-file`
    pub log_file: Option<PathBuf>,
    /// Options of Vault that are taken and do nothing, with why.
    pub idle: Vec<String>,
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
  -log-file=<path>             Also write the log to the end of this file (HOLDFAST_LOG_FILE).
  -dev                         In memory, unsealed, without TLS: for trying things out.
  -dev-root-token-id=<id>      The dev server's root token (HOLDFAST_DEV_ROOT_TOKEN_ID).
  -dev-listen-address=<addr>   Default 127.0.0.1:8200 (HOLDFAST_DEV_LISTEN_ADDRESS).
  -dev-kv-v1                   Keep no versions at secret/.
  -dev-no-store-token          Do not write the root token to ~/.vault-token.
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
    /// Vault has it, and here it could do nothing good.
    #[error(
        "-recovery is not served: there is no raft cluster to recover. A store is checked by sys/fsck, read by sys/raw \
         (raw_storage_endpoint), and put back from a snapshot"
    )]
    Recovery,
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
        if SWITCHES.contains(&name) {
            let on = switch(name, given)?;
            parsed.turn(name, on)?;
            continue;
        }
        if !VALUES.contains(&name) {
            return Err(Error::Unknown(argument));
        }
        let value = given.or_else(|| rest.next()).ok_or_else(|| Error::NoValue(name.to_owned()))?;
        match name {
            "config" => parsed.config.push(PathBuf::from(value)),
            "dev-root-token-id" => parsed.dev_root_token = Some(SecretString::new(value)),
            "dev-listen-address" => parsed.dev_listen_address = Some(value),
            "log-file" => parsed.log_file = Some(PathBuf::from(value)),
            "log-rotate-bytes" | "log-rotate-duration" | "log-rotate-max-files" => {
                parsed.idle.push(format!(
                    "-{name} has no effect: a file is written to its end, so it may be truncated by logrotate"
                ));
            }
            "log-level" => parsed.log_level = Some(value),
            _ => parsed.log_format = Some(value),
        }
    }
    let get = |name: &str| ["HOLDFAST", "VAULT"].iter().find_map(|prefix| environment(&format!("{prefix}_{name}")));
    parsed.dev_root_token = parsed.dev_root_token.or_else(|| get("DEV_ROOT_TOKEN_ID").map(SecretString::new));
    parsed.dev_listen_address = parsed.dev_listen_address.or_else(|| get("DEV_LISTEN_ADDRESS"));
    Ok(parsed)
}

const SWITCHES: &[&str] = &[
    "dev",
    "help",
    "h",
    "dev-ha",
    "dev-kv-v1",
    "dev-no-store-token",
    "dev-transactional",
    "exit-on-core-shutdown",
    "recovery",
];

const VALUES: &[&str] = &[
    "config",
    "dev-root-token-id",
    "dev-listen-address",
    "log-file",
    "log-format",
    "log-level",
    "log-rotate-bytes",
    "log-rotate-duration",
    "log-rotate-max-files",
];

impl Arguments {
    /// A switch. Those of the dev server ask for one, as in Vault.
    fn turn(&mut self, name: &str, on: bool) -> Result<(), Error> {
        match name {
            "dev" => self.dev = on,
            "dev-kv-v1" => (self.dev_kv_v1, self.dev) = (on, self.dev | on),
            // Memory is always transactional, and there is nobody to be a standby for.
            "dev-ha" | "dev-transactional" => self.dev |= on,
            "dev-no-store-token" => self.dev_no_store_token = on,
            // The process ends when its core does, whatever is said.
            "exit-on-core-shutdown" => {}
            "recovery" if on => return Err(Error::Recovery),
            "recovery" => {}
            _ => self.help = on,
        }
        Ok(())
    }
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
    fn options_of_vault_are_taken() {
        let read_all =
            "-dev-kv-v1 -dev-no-store-token -exit-on-core-shutdown -log-file=/l -log-rotate-bytes 5 -recovery=false";
        let parsed = read(read_all).unwrap();
        assert!(parsed.dev && parsed.dev_kv_v1 && parsed.dev_no_store_token);
        assert_eq!((parsed.log_file, parsed.idle.len()), (Some(PathBuf::from("/l")), 1));
        assert!(read("-dev-ha -dev-transactional").unwrap().dev);
        assert!(read("-recovery").unwrap_err().to_string().contains("snapshot"));
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in ["-nope", "config", "-config", "-dev=perhaps"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(!read("-dev=false").unwrap().dev);
    }
}
