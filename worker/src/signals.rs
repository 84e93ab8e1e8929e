//! SIGTERM and SIGINT: the first drains, the second forces.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, heard from now on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) {
        tokio::select! {
            biased;
            // SIGTERM first: it comes from an orchestrator that counts the seconds.
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
