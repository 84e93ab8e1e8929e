//! Cuts a stream of bytes into lines without ever holding more than a limit. Up: [`crate`].

use bytes::{Buf, Bytes, BytesMut};

/// A line grew beyond the limit before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// Collects bytes and gives complete lines, without their line end. Blank lines are left out.
#[derive(Debug)]
pub(crate) struct Lines {
    gathered: BytesMut,
    /// How many of the gathered bytes are known to hold no line end.
    searched: usize,
    longest: usize,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub(crate) fn new(longest: usize) -> Self {
        Self { gathered: BytesMut::new(), searched: 0, longest }
    }

    /// Takes what arrived.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
    }

    /// Where a reader may put what arrives.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.gathered
    }

    /// The next complete line; `None` = more must arrive first.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let Some(end) = self.gathered[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.gathered.len();
                return if self.searched > self.longest { Err(LineTooLong) } else { Ok(None) };
            };
            let end = self.searched + end;
            if end > self.longest {
                return Err(LineTooLong);
            }
            let line = self.gathered.split_to(end);
            self.gathered.advance(1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }

    /// What stands behind the last line end: a last line may lack its own.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        self.searched = 0;
        let rest = self.gathered.split().freeze();
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: Option<Bytes>) -> Option<String> {
        line.map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let mut lines = Lines::new(10);
        let mut got = Vec::new();
        for byte in b"one\n\n  \r\ntwo\nthree" {
            lines.extend(&[*byte]);
            while let Some(line) = lines.next().expect("short lines") {
                got.push(line);
            }
        }
        assert_eq!(got, ["one", "two"]);
        assert_eq!(text(lines.rest()), Some("three".to_owned()));
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_before_it_ends() {
        let mut lines = Lines::new(4);
        lines.extend(b"1234\n12345");
        assert_eq!(text(lines.next().expect("within")), Some("1234".to_owned()));
        assert_eq!(lines.next(), Err(LineTooLong));
        let mut whole = Lines::new(4);
        whole.extend(b"12345\n");
        assert_eq!(whole.next(), Err(LineTooLong));
    }
}
