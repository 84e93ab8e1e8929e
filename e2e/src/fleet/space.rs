//! A network namespace for one worker, with a cable of its own to etcd that can be pulled, and another one for everything
//! else. Root's to make, with `ip` of iproute2.
//!
//! ```text
//!   the namespace                            this machine
//!   worker ── 198.18.N.2 ══ cable ══ 198.18.N.1 ── etcd      cut(): the cable is down, packets vanish
//!        └─── 198.19.N.2 ══ cable ══ 198.19.N.1 ── Kafka, and whoever asks the worker how it is
//! ```

use std::io;
use std::process::Command;

use crate::process::{self, ProcessError};

/// A network namespace. Dropping it removes it; what still runs in it has no network then.
#[derive(Debug)]
pub struct Space {
    name: String,
    number: u32,
}

impl Space {
    /// Makes one. One at a time in a process.
    ///
    /// # Errors
    /// Where that is not possible: without root, without `ip`, or in a kernel without namespaces. What was made of it is
    /// removed.
    pub fn make() -> io::Result<Space> {
        let process = std::process::id();
        let space = Space { name: format!("kw{process}"), number: process % 256 };
        let Space { name, .. } = &space;
        ip(&format!("netns add {name}"))?;
        for (cable, near, far) in
            [("e", space.etcd_host(), space.address(18, 2)), ("k", space.kafka_host(), space.inside())]
        {
            let (outside, inside) = (format!("{name}{cable}"), format!("{name}{cable}i"));
            ip(&format!("link add {outside} type veth peer name {inside} netns {name}"))?;
            ip(&format!("addr add {near}/30 dev {outside}"))?;
            ip(&format!("link set {outside} up"))?;
            ip(&format!("-n {name} addr add {far}/30 dev {inside}"))?;
            ip(&format!("-n {name} link set {inside} up"))?;
        }
        ip(&format!("-n {name} link set lo up"))?;
        Ok(space)
    }

    fn address(&self, net: u8, end: u8) -> String {
        format!("198.{net}.{}.{end}", self.number)
    }

    /// Where an etcd must listen, on this machine, to be reached over the cable that can be pulled.
    #[must_use]
    pub fn etcd_host(&self) -> String {
        self.address(18, 1)
    }

    /// Where a broker must listen to be reached from inside.
    #[must_use]
    pub fn kafka_host(&self) -> String {
        self.address(19, 1)
    }

    /// Where a worker inside is reached.
    #[must_use]
    pub fn inside(&self) -> String {
        self.address(19, 2)
    }

    /// Pulls the cable to etcd, at its end inside: whoever else talks to that etcd does not notice.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn cut(&self) -> io::Result<()> {
        ip(&format!("-n {0} link set {0}ei down", self.name))
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn mend(&self) -> io::Result<()> {
        ip(&format!("-n {0} link set {0}ei up", self.name))
    }

    /// That program, to be run inside.
    pub(super) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // The cables go with one of their ends; a namespace that was not made is not missed.
        let _ = ip(&format!("netns del {}", self.name));
        for cable in ["e", "k"] {
            let _ = ip(&format!("link del {}{cable}", self.name));
        }
    }
}

fn ip(words: &str) -> io::Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    let ran = process::run(&format!("ip {words}"), command);
    ran.map(drop).map_err(|error: ProcessError| io::Error::other(error))
}
