//! Syslog: RFC 3164 to the machine's own daemon, RFC 5424 where asked for, with octet counting on streams (RFC 6587).

use std::io;

use holdfast_base::{Clock, SystemClock, Timestamp};

use crate::{
    socket::{Socket, each},
    writer::{Output, Unwritten},
};

/// Which header a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// `<pri>tag[pid]: message`: what the daemon behind `/dev/log` expects, which knows host and time.
    Local,
    /// RFC 5424.
    Rfc5424,
}

/// Lines as syslog messages of severity INFO.
pub(crate) struct SyslogOutput {
    pub socket: Socket,
    pub header: Header,
    pub facility: u8,
    pub tag: String,
    pub host: String,
}

const FACILITIES: [&str; 24] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP", "NTP",
    "AUDIT", "ALERT", "CLOCK", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
];

/// RFC 5424 §6.2.1.
const INFORMATIONAL: u8 = 6;

/// The number of a facility (RFC 5424 §6.2.1).
pub(crate) fn facility(name: &str) -> Option<u8> {
    let name = name.to_ascii_uppercase();
    FACILITIES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok())
}

impl SyslogOutput {
    fn message(&self, line: &str, now: Timestamp) -> String {
        let (priority, pid) = (self.facility * 8 + INFORMATIONAL, std::process::id());
        match self.header {
            Header::Local => format!("<{priority}>{}[{pid}]: {line}", self.tag),
            Header::Rfc5424 => format!("<{priority}>1 {now:.6} {} {} {pid} audit - {line}", self.host, self.tag),
        }
    }
}

impl Output for SyslogOutput {
    fn name(&self) -> String {
        format!("syslog at {}", self.socket.name())
    }

    fn write(&mut self, lines: &[String]) -> Result<(), Unwritten> {
        each(lines, |line| {
            let message = self.message(line, SystemClock.now());
            match (self.socket.is_stream(), self.header) {
                (false, _) => self.socket.send(message.as_bytes()),
                (true, Header::Local) => self.socket.send(format!("{message}\n").as_bytes()),
                (true, Header::Rfc5424) => self.socket.send(format!("{} {message}", message.len()).as_bytes()),
            }
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket.forget();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::*;
    use crate::socket::Address;

    #[test]
    fn headers() {
        let socket = Socket::new(Address::UnixDatagram(PathBuf::from("/dev/log")), Duration::from_secs(1));
        let mut syslog = SyslogOutput {
            socket,
            header: Header::Local,
            facility: facility("auth").unwrap(),
            tag: "vault".to_owned(),
            host: "node-1".to_owned(),
        };
        let (pid, now) = (std::process::id(), "2026-01-02T03:04:05Z".parse().unwrap());
        assert_eq!(syslog.message("{}", now), format!("<38>vault[{pid}]: {{}}"));
        syslog.header = Header::Rfc5424;
        assert_eq!(
            syslog.message("{}", now),
            format!("<38>1 2026-01-02T03:04:05.000000Z node-1 vault {pid} audit - {{}}")
        );
        assert_eq!((facility("LOCAL7"), facility("nobody")), (Some(23), None));
    }
}
