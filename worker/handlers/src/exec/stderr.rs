//! What children write to stderr, line by line into the worker's log, with a limit. Up: [`super::child`].

use bytes::{Bytes, BytesMut};
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use crate::answer::start_of;
use crate::lines::Lines;

/// Lines that are logged in each window; the rest is counted.
const LINES: u32 = 50;
const WINDOW: Duration = Duration::from_secs(1);
/// A longer line is cut.
const LONGEST: usize = 4096;

/// One child's stderr.
#[derive(Debug)]
pub(super) struct Stderr {
    process: u32,
    lines: Lines,
    last: Option<Bytes>,
    window: Instant,
    logged: u32,
    left_out: u32,
}

impl Stderr {
    /// The stderr of this process.
    pub(super) fn new(process: u32) -> Self {
        let lines = Lines::new(LONGEST);
        Self { process, lines, last: None, window: Instant::now(), logged: 0, left_out: 0 }
    }

    /// Where a reader puts what arrives, before it calls [`Stderr::log`].
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.lines.buffer()
    }

    /// Logs the lines that are complete.
    pub(super) fn log(&mut self) {
        loop {
            match self.lines.next() {
                Ok(Some(line)) => self.line(line),
                Ok(None) => return,
                Err(_) => {
                    if let Some(line) = self.lines.rest() {
                        self.line(line);
                    }
                }
            }
        }
    }

    /// The last line: where a program crashed, it usually says why.
    pub(super) fn last(&mut self) -> Option<String> {
        if let Some(rest) = self.lines.rest() {
            self.line(rest);
        }
        self.last.as_ref().map(|line| start_of(line.trim_ascii()))
    }

    fn line(&mut self, line: Bytes) {
        if self.window.elapsed() >= WINDOW {
            if self.left_out > 0 {
                warn!(
                    process = self.process,
                    lines = self.left_out,
                    "left out what the handler wrote to stderr"
                );
            }
            (self.window, self.logged, self.left_out) = (Instant::now(), 0, 0);
        }
        if self.logged < LINES {
            self.logged += 1;
            let text = String::from_utf8_lossy(line.trim_ascii());
            info!(process = self.process, %text, "handler wrote to stderr");
        } else {
            self.left_out += 1;
        }
        self.last = Some(line);
    }
}
