//! Which program made a connection on this machine: the kernel's table of sockets has the number of each, and a program's open
//! files name theirs.

use std::{fs, net::SocketAddr, sync::atomic::Ordering};

use crate::process::Id;

/// Which of these programs connected from this address of IPv4.
pub fn of(programs: &[Id], from: SocketAddr) -> Option<usize> {
    let link = format!("socket:[{}]", socket_of(from)?);
    programs.iter().position(|id| has_open(id.load(Ordering::SeqCst), &link))
}

/// The number of the socket with this local address.
fn socket_of(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let wanted = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&wanted.as_str()))?;
    row.get(9).map(|&number| number.to_owned())
}

fn has_open(process: u32, link: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        sync::Arc,
    };

    use super::*;

    #[test]
    fn a_connection_is_that_of_the_program_that_made_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, from) = listener.accept().unwrap();
        let (other, own): (Id, Id) = (Arc::default(), Arc::new(std::process::id().into()));
        assert_eq!(of(&[other.clone(), own], from), Some(1));
        assert_eq!(of(&[other], from), None);
        drop(stream);
    }
}
