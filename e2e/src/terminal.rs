//! A terminal for a program of a test: what it draws there can be read.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// The side of a terminal on which a person would sit.
#[derive(Debug)]
pub struct Terminal {
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Opens a terminal of that size; gives also what a program writes to.
    ///
    /// # Errors
    /// When the system has no terminal left.
    pub fn open(columns: u16, rows: u16) -> io::Result<(Terminal, Stdio)> {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut person, mut program) = (-1, -1);
        // SAFETY: the two integers and the size outlive the call; name and settings may be null.
        let opened = unsafe {
            libc::openpty(
                &raw mut person,
                &raw mut program,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        if opened != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both were just opened and belong to nobody else.
        let (person, program) = unsafe { (OwnedFd::from_raw_fd(person), OwnedFd::from_raw_fd(program)) };
        // Programs of other tests that start meanwhile must not keep it open.
        for side in [&person, &program] {
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        let drawn = Arc::<Mutex<Vec<u8>>>::default();
        let seen = Arc::clone(&drawn);
        // It ends when the last program has closed its side.
        std::thread::spawn(move || follow(File::from(person), &seen));
        Ok((Terminal { drawn }, program.into()))
    }

    /// All that was drawn so far, as lines of text: without colours and movements of the cursor.
    #[must_use]
    pub fn text(&self) -> String {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        plain(&String::from_utf8_lossy(&drawn))
    }
}

fn follow(mut person: File, seen: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = person.read(&mut bytes) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
    }
}

/// Text without escape sequences; what returns to the begin of a line begins another one.
fn plain(drawn: &str) -> String {
    let mut text = String::new();
    let mut left = drawn.chars();
    while let Some(next) = left.next() {
        match next {
            // ESC [ parameters letter
            '\u{1b}' => drop(left.by_ref().find(char::is_ascii_alphabetic)),
            '\r' => text.push('\n'),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_over_and_over_is_read_line_by_line() {
        assert_eq!(
            plain("\r\u{1b}[2Kdone 1\u{1b}[32m!\u{1b}[0m\r\u{1b}[1A\u{1b}[2Kdone 2"),
            "\ndone 1!\ndone 2"
        );
    }

    #[test]
    fn a_program_finds_itself_on_a_terminal_of_that_size() {
        let (terminal, program) = Terminal::open(123, 45).unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "test -t 1 && stty size <&1"]).stdout(program);
        assert!(command.status().unwrap().success());
        drop(command);
        let sees = || terminal.text().contains("45 123");
        crate::wait::until("its size", std::time::Duration::from_secs(5), sees).unwrap();
    }
}
