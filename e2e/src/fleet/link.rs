//! A link that can be cut or slow: a forwarder between workers and a server, as a network that loses every packet of one
//! pod would be. Cut, open connections hang and new ones are not answered.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::ports::{LOOPBACK, Port};

/// How often a hanging connection looks whether the link is whole again.
const LOOK: Duration = Duration::from_millis(20);

/// A link to one server. Dropping it closes it.
#[derive(Debug)]
pub struct Link {
    port: Port,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    closed: AtomicBool,
    /// How long each piece takes on its way, in milliseconds.
    slow: AtomicU64,
}

impl Link {
    /// A whole link to `server` (`host:port`).
    ///
    /// # Errors
    /// When there is no free port.
    pub fn to(server: &str) -> io::Result<Link> {
        let port = Port::take()?;
        let listener = TcpListener::bind((LOOPBACK, port.number()))?;
        let (state, server) = (Arc::new(State::default()), server.to_owned());
        let link = Link { port, state: Arc::clone(&state) };
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if state.closed.load(Ordering::Relaxed) {
                    return;
                }
                let (state, server) = (Arc::clone(&state), server.clone());
                std::thread::spawn(move || {
                    // Whatever ends a connection, its ends see that themselves.
                    let _ = near.and_then(|near| carry(near, &server, &state));
                });
            }
        });
        Ok(link)
    }

    /// `host:port` of its near end.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// From now on everything takes that long on its way, in either direction.
    pub fn slow(&self, takes: Duration) {
        let millis = u64::try_from(takes.as_millis()).unwrap_or(u64::MAX);
        self.state.slow.store(millis, Ordering::Relaxed);
    }

    /// Everything passes again, late.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        // The listening thread looks once more, and ends.
        drop(TcpStream::connect(self.port.address()));
    }
}

fn carry(near: TcpStream, server: &str, state: &Arc<State>) -> io::Result<()> {
    state.wait();
    let far = TcpStream::connect(server)?;
    let (from_near, to_near) = (near.try_clone()?, near);
    let (from_far, to_far) = (far.try_clone()?, far);
    let there = Arc::clone(state);
    let forward = std::thread::spawn(move || pass(from_near, to_far, &there));
    pass(from_far, to_near, state);
    // It ended with the connection.
    let _ = forward.join();
    Ok(())
}

/// One direction, until either end closes.
fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(state.slow.load(Ordering::Relaxed)));
        state.wait();
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
}

impl State {
    /// Until the link is whole.
    fn wait(&self) {
        while self.cut.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }
}
