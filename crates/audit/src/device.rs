//! A device: a sink with a key and options, as `sys/audit/:path` makes it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use holdfast_secret::SecretBytes;

use crate::{FileSink, Hasher, Sink, SinkError, Target};

/// What a device is made of.
#[derive(Debug)]
pub struct DeviceSpec {
    /// Name, with a slash at the end: `file/`.
    pub path: String,
    /// `file`; others come later.
    pub kind: String,
    /// `file_path` (or `path`; `stdout` and `discard` are special), `mode` (octal, default 0600), `sync` (`batch` or
    /// `none`), `prefix`, `hmac_accessor` (default true), `elide_list_responses`, `format` (`json`), `log_raw` (false).
    pub options: BTreeMap<String, String>,
    /// 32 random bytes of the device's own, kept behind the barrier for as long as hashes are to be compared.
    pub key: SecretBytes,
}

/// Why there is no such device. All are the caller's fault (400) but the last.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Unknown type.
    #[error("unknown backend type: {0:?}, use \"file\"")]
    Kind(String),
    /// Unknown option, or a wrong value.
    #[error("option {name:?}: {reason}")]
    Option {
        /// Its name.
        name: String,
        /// What would be right.
        reason: String,
    },
    /// Another device has this path.
    #[error("path already in use")]
    InUse,
    /// The target cannot be opened, or refused the test line.
    #[error("sanity check failed; unable to use the device: {0}")]
    Sink(#[from] SinkError),
}

/// A sink with its key.
pub struct Device {
    pub(crate) path: String,
    pub(crate) hasher: Hasher,
    pub(crate) sink: Arc<dyn Sink>,
}

const OPTIONS: [&str; 9] =
    ["file_path", "path", "mode", "sync", "prefix", "hmac_accessor", "elide_list_responses", "format", "log_raw"];

impl Device {
    /// Checks the options and opens the target.
    pub fn open(spec: &DeviceSpec) -> Result<Self, OpenError> {
        if spec.kind != "file" {
            return Err(OpenError::Kind(spec.kind.clone()));
        }
        if let Some(name) = spec.options.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
            return Err(wrong(name, format!("unknown, use one of {}", OPTIONS.join(", "))));
        }
        if option(spec, "format").is_some_and(|format| format != "json") {
            return Err(wrong("format", "only \"json\" is supported"));
        }
        if truth(spec, "log_raw", false)? {
            return Err(wrong("log_raw", "secrets are never written in clear"));
        }
        let sink = FileSink::open(target(spec)?, option(spec, "prefix").unwrap_or_default().to_owned())?;
        Self::with_sink(spec, Arc::new(sink))
    }

    /// A device of this name, key and options on another sink.
    pub fn with_sink(spec: &DeviceSpec, sink: Arc<dyn Sink>) -> Result<Self, OpenError> {
        let accessors = truth(spec, "hmac_accessor", true)?;
        let elide = truth(spec, "elide_list_responses", false)?;
        if spec.key.len() < 32 {
            return Err(wrong("key", "must have 32 bytes"));
        }
        let hasher = Hasher::new(&spec.key, accessors, elide).ok_or_else(|| wrong("key", "not usable"))?;
        let path = format!("{}/", spec.path.trim_matches('/'));
        Ok(Self { path, hasher, sink })
    }

    /// Its name, with a slash at the end.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn target(spec: &DeviceSpec) -> Result<Target, OpenError> {
    let path = option(spec, "file_path").or_else(|| option(spec, "path"));
    let path = path.ok_or_else(|| wrong("file_path", "required: a path, \"stdout\" or \"discard\""))?;
    match path {
        "stdout" | "/dev/stdout" => return Ok(Target::Stdout),
        "discard" => return Ok(Target::Discard),
        _ => {}
    }
    let mode = match option(spec, "mode") {
        None => 0o600,
        Some(text) => u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| mode & !0o666 == 0 && mode & 0o200 != 0)
            .ok_or_else(|| wrong("mode", "octal digits such as 0600: writable for its owner, not executable"))?,
    };
    let sync = match option(spec, "sync").unwrap_or("batch") {
        "batch" => true,
        "none" => false,
        _ => return Err(wrong("sync", "use \"batch\" or \"none\"")),
    };
    Ok(Target::File { path: PathBuf::from(path), mode, sync })
}

fn option<'a>(spec: &'a DeviceSpec, name: &str) -> Option<&'a str> {
    spec.options.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn truth(spec: &DeviceSpec, name: &str, default: bool) -> Result<bool, OpenError> {
    match option(spec, name) {
        None => Ok(default),
        Some("true" | "1" | "t" | "T" | "True" | "TRUE") => Ok(true),
        Some("false" | "0" | "f" | "F" | "False" | "FALSE") => Ok(false),
        Some(_) => Err(wrong(name, "true or false")),
    }
}

fn wrong(name: &str, reason: impl Into<String>) -> OpenError {
    OpenError::Option { name: name.to_owned(), reason: reason.into() }
}
