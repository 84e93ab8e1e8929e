//! Ports that nobody else takes while a part lives, across restarts of the part.
//!
//! Asking the kernel for a free port and closing it again would hand the port to the next outgoing
//! connection before a JVM has bound it. So ports come from a range below the kernel's ephemeral one and
//! below Kubernetes' node ports, and each is held by a file lock that vanishes with its holder.

use std::fs::File;
use std::io;
use std::net::TcpListener;

use crate::cache;

const RANGE: std::ops::Range<u16> = 15_000..29_000;

/// The address of this machine that only this machine reaches.
pub const LOOPBACK: &str = "127.0.0.1";

/// A port on one address of this machine, ours until dropped.
#[derive(Debug)]
pub struct Port {
    host: String,
    number: u16,
    _held: File,
}

impl Port {
    /// Takes a free port on the loopback address.
    ///
    /// # Errors
    /// When the lock directory can't be written or the whole range is taken.
    pub fn take() -> io::Result<Port> {
        Port::take_on(LOOPBACK)
    }

    /// Takes a free port on that address of this machine.
    ///
    /// # Errors
    /// When the lock directory can't be written, the whole range is taken, or the address is not ours.
    pub fn take_on(host: &str) -> io::Result<Port> {
        let span = RANGE.end - RANGE.start;
        let seed =
            cache::key(&[&format!("{:?}", std::time::Instant::now()), &std::process::id().to_string()]);
        let first = u64::from_str_radix(&seed, 16).unwrap_or_default() % u64::from(span);
        for step in 0..span {
            let number = RANGE.start + (first as u16 + step) % span;
            let file = cache::lock_file(&format!("port-{number}"))?;
            if file.try_lock().is_ok() && TcpListener::bind((host, number)).is_ok() {
                return Ok(Port { host: host.to_owned(), number, _held: file });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port in the test range"))
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_held_until_it_is_dropped() {
        let ports: Vec<Port> = (0..20).map(|_| Port::take().unwrap()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
        assert!(TcpListener::bind(ports[0].address()).is_ok());
    }
}
