//! A device: a sink with a key and options, as `sys/audit/:path` makes it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use holdfast_secret::SecretBytes;

use crate::{
    ChainSpec, Hasher, Options, Sink, SinkError,
    file::{FileOutput, Target},
    socket::{Address, Socket, SocketOutput},
    syslog::{self, Header, SyslogOutput},
    writer::{Writer, io_error},
};

/// What a device is made of.
pub struct DeviceSpec {
    /// Name, with a slash at the end: `file/`.
    pub path: String,
    /// `file`, `socket` or `syslog`.
    pub kind: String,
    /// Of every device: `hmac_accessor` (true), `elide_list_responses` (false), `log_raw` (false), `format` (`json`),
    /// `required` (false). Of a file: `file_path` (or `path`; `stdout`, `stderr` and `discard` are special), `mode` (octal,
    /// 0600), `sync` (`batch` or `none`). Of a socket: `address`, `socket_type` (`tcp`), `write_timeout` (2s). Of syslog:
    /// `facility` (`AUTH`), `tag` (`vault`), `address` (`/dev/log`), `socket_type` (`unixgram`), `rfc` (`3164` or `5424`).
    pub options: BTreeMap<String, String>,
    /// 32 random bytes of the device's own, kept behind the barrier for as long as hashes are to be compared.
    pub key: SecretBytes,
    /// Its chain; without it lines carry no `hf`.
    pub chain: Option<ChainSpec>,
    /// Where files may be; everywhere if `None`.
    pub folders: Option<Arc<[PathBuf]>>,
}

/// Why there is no such device. All are the caller's fault (400) but the last.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Unknown type.
    #[error("unknown backend type: {0:?}, use \"file\", \"socket\" or \"syslog\"")]
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
    /// The key of the chain has not 32 bytes.
    #[error("the key of the chain must have 32 bytes")]
    ChainKey,
    /// The target cannot be opened, or refused the test line.
    #[error("sanity check failed; unable to use the device: {0}")]
    Sink(#[from] SinkError),
}

/// A sink with its key.
pub struct Device {
    pub(crate) path: String,
    pub(crate) hasher: Hasher,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) required: bool,
}

const COMMON: [&str; 5] = ["hmac_accessor", "elide_list_responses", "log_raw", "format", "required"];
const FILE: [&str; 4] = ["file_path", "path", "mode", "sync"];
const SOCKET: [&str; 3] = ["address", "socket_type", "write_timeout"];
const SYSLOG: [&str; 6] = ["address", "socket_type", "write_timeout", "facility", "tag", "rfc"];

/// Members of a list that fit into a datagram whatever they are.
const DATAGRAM_LIST: usize = 1000;

impl Device {
    /// Checks the options and opens the target. A socket is connected when the first line comes.
    pub fn open(mut spec: DeviceSpec) -> Result<Self, OpenError> {
        let own: &[&str] = match spec.kind.as_str() {
            "file" => &FILE,
            "socket" => &SOCKET,
            "syslog" => &SYSLOG,
            _ => return Err(OpenError::Kind(spec.kind)),
        };
        check_names(&spec, own)?;
        // Read before anything is opened: a device with a wrong option leaves no file behind.
        options(&spec)?;
        let chain = spec.chain.take();
        let writer = match spec.kind.as_str() {
            "file" => {
                let output = FileOutput::open(target(&spec)?);
                Writer::start(output.map_err(|error| io_error(&format!("open {}", shown(&spec)), &error))?, chain)?
            }
            "socket" => Writer::start(SocketOutput(socket(&spec, None)?), chain)?,
            _ => Writer::start(syslog(&spec)?, chain)?,
        };
        Self::with_sink(&spec, Arc::new(writer))
    }

    /// A device of this name, key and options on another sink.
    pub fn with_sink(spec: &DeviceSpec, sink: Arc<dyn Sink>) -> Result<Self, OpenError> {
        if spec.key.len() < 32 {
            return Err(wrong("key", "must have 32 bytes"));
        }
        let hasher = Hasher::new(&spec.key, options(spec)?).ok_or_else(|| wrong("key", "not usable"))?;
        let path = format!("{}/", spec.path.trim_matches('/'));
        Ok(Self { path, hasher, sink, required: truth(spec, "required", false)? })
    }

    /// Its name, with a slash at the end.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn check_names(spec: &DeviceSpec, own: &[&str]) -> Result<(), OpenError> {
    for name in spec.options.keys() {
        if name == "prefix" {
            return Err(wrong(
                name,
                "refused: text of the caller before each line makes a file of any kind (CVE-2025-6000)",
            ));
        }
        if !COMMON.contains(&name.as_str()) && !own.contains(&name.as_str()) {
            let known = [own, &COMMON].concat().join(", ");
            return Err(wrong(name, format!("unknown, use one of {known}")));
        }
    }
    Ok(())
}

fn options(spec: &DeviceSpec) -> Result<Options, OpenError> {
    if option(spec, "format").is_some_and(|format| format != "json") {
        return Err(wrong("format", "only \"json\" is supported"));
    }
    truth(spec, "required", false)?;
    let datagrams = spec.kind == "syslog" || option(spec, "socket_type").is_some_and(|kind| kind.starts_with("udp"));
    Ok(Options {
        hash_accessors: truth(spec, "hmac_accessor", true)?,
        elide_above: match truth(spec, "elide_list_responses", false)? {
            true => 0,
            false if datagrams => DATAGRAM_LIST,
            false => usize::MAX,
        },
        raw: truth(spec, "log_raw", false)?,
    })
}

fn shown(spec: &DeviceSpec) -> &str {
    option(spec, "file_path").or_else(|| option(spec, "path")).unwrap_or_default()
}

pub(crate) fn target(spec: &DeviceSpec) -> Result<Target, OpenError> {
    match shown(spec) {
        "" => return Err(wrong("file_path", "required: a path, \"stdout\", \"stderr\" or \"discard\"")),
        "stdout" | "/dev/stdout" => return Ok(Target::Stdout),
        "stderr" | "/dev/stderr" => return Ok(Target::Stderr),
        "discard" => return Ok(Target::Discard),
        _ => {}
    }
    let path = PathBuf::from(shown(spec));
    if let Some(folders) = &spec.folders {
        let plain = !path.components().any(|part| part == std::path::Component::ParentDir);
        if !plain || !folders.iter().any(|folder| below(&path, folder)) {
            return Err(wrong("file_path", "not below a folder of audit_directories in the server's configuration"));
        }
    }
    let mode = match option(spec, "mode") {
        // Vault's word for "leave it as it is".
        None | Some("0000" | "0") => 0o600,
        Some(text) => {
            u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o664 == 0 && mode & 0o200 != 0).ok_or_else(
                || wrong("mode", "octal digits such as 0600: writable for its owner, not for all, not executable"),
            )?
        }
    };
    let sync = match option(spec, "sync").unwrap_or("batch") {
        "batch" => true,
        "none" => false,
        _ => return Err(wrong("sync", "use \"batch\" or \"none\"")),
    };
    Ok(Target::File { path, mode, sync })
}

/// With links of the folders followed, so that none leads out.
fn below(path: &Path, folder: &Path) -> bool {
    let (Some(parent), Ok(folder)) = (path.parent(), folder.canonicalize()) else { return false };
    match parent.canonicalize() {
        Ok(parent) => parent.starts_with(folder),
        // It is made when the device is opened; what is there already decides.
        Err(_) => {
            parent.ancestors().find_map(|part| part.canonicalize().ok()).is_some_and(|part| part.starts_with(folder))
        }
    }
}

fn socket(spec: &DeviceSpec, default: Option<(&str, &str)>) -> Result<Socket, OpenError> {
    let address = option(spec, "address").or(default.map(|(address, _)| address));
    let address = address.ok_or_else(|| wrong("address", "required: host:port, or the path of a unix socket"))?;
    let kind = option(spec, "socket_type").unwrap_or(default.map_or("tcp", |(_, kind)| kind));
    let address = match kind {
        "tcp" | "tcp4" | "tcp6" => Address::Tcp(address.to_owned()),
        "udp" | "udp4" | "udp6" => Address::Udp(address.to_owned()),
        "unix" => Address::Unix(address.into()),
        "unixgram" => Address::UnixDatagram(address.into()),
        _ => return Err(wrong("socket_type", "use \"tcp\", \"udp\", \"unix\" or \"unixgram\"")),
    };
    if let Address::Tcp(text) | Address::Udp(text) = &address
        && !text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    {
        return Err(wrong("address", "host:port is needed"));
    }
    let limit = holdfast_base::duration::parse(option(spec, "write_timeout").unwrap_or("2s"))
        .ok()
        .filter(|limit| *limit > Duration::ZERO && *limit <= Duration::from_secs(60))
        .ok_or_else(|| wrong("write_timeout", "a duration up to 60s"))?;
    Ok(Socket::new(address, limit))
}

fn syslog(spec: &DeviceSpec) -> Result<SyslogOutput, OpenError> {
    let facility = option(spec, "facility").unwrap_or("AUTH");
    let facility = syslog::facility(facility).ok_or_else(|| wrong("facility", "a name such as AUTH or LOCAL0"))?;
    let tag = option(spec, "tag").unwrap_or("vault");
    if tag.len() > 48 || !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("tag", "up to 48 printable characters without blanks"));
    }
    let local = option(spec, "address").is_none_or(|address| address.starts_with('/'));
    let header = match option(spec, "rfc").unwrap_or(if local { "3164" } else { "5424" }) {
        "3164" => Header::Local,
        "5424" => Header::Rfc5424,
        _ => return Err(wrong("rfc", "use \"3164\" or \"5424\"")),
    };
    let socket = socket(spec, Some(("/dev/log", if local { "unixgram" } else { "udp" })))?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(SyslogOutput { socket, header, facility, tag: tag.to_owned(), host })
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
