//! What a command says, on standard output and standard error: the only place that writes there.
//!
//! Nobody may be listening any more (`keyweir crds | head`), and the file behind it may lie on a disk that is full: neither
//! ends the work of a run, and neither is a panic.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Says what was asked for. That nobody reads it any more is no error.
pub(crate) fn out(text: impl Display) -> io::Result<()> {
    match line(io::stdout().lock(), text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says something to the person at the terminal, if there is one.
pub(crate) fn err(text: impl Display) {
    // There is no other place to say that this one can't be written.
    let _ = line(io::stderr().lock(), text);
}

/// A line of its own, at once: whoever reads it may wait for it.
fn line(mut to: impl Write, text: impl Display) -> io::Result<()> {
    writeln!(to, "{text}").and_then(|()| to.flush())
}
