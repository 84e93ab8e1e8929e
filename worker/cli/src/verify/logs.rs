//! Event logs as one stream, in the order of time; and the logs of what was sent.
//!
//! Lines of one file keep their order. A line that was cut off by a kill is allowed where an incarnation ends: at the
//! end of a file, or before a line of another member.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use keyweir_worker::event_log::{Line, Step};

use crate::send::Sent;

/// Why a log can't be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// It can't be read.
    #[error("failed to read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A line that was never one of an event log.
    #[error(
        "failed to find an event log in {path}: line {line} is none of its lines; give what `keyweir run --event-log FILE` wrote"
    )]
    Foreign { path: PathBuf, line: u64 },
    /// A line in the midst of an incarnation is damaged.
    #[error("failed to understand {path}, line {line}")]
    Line {
        path: PathBuf,
        line: u64,
        #[source]
        source: serde_json::Error,
    },
}

/// One file of events.
struct Events {
    path: PathBuf,
    from: BufReader<File>,
    text: Vec<u8>,
    number: u64,
    member: Option<std::sync::Arc<str>>,
    torn: u64,
    next: Option<Line>,
}

impl Events {
    fn open(path: &Path) -> Result<Self, LogError> {
        let file = File::open(path).map_err(|source| LogError::Read { path: path.to_owned(), source })?;
        let from = BufReader::with_capacity(1 << 20, file);
        let mut events = Self {
            path: path.to_owned(),
            from,
            text: Vec::new(),
            number: 0,
            member: None,
            torn: 0,
            next: None,
        };
        events.next = events.read()?;
        Ok(events)
    }

    fn read(&mut self) -> Result<Option<Line>, LogError> {
        let mut damaged = None;
        loop {
            self.text.clear();
            let read = self.from.read_until(b'\n', &mut self.text);
            let read = read.map_err(|source| LogError::Read { path: self.path.clone(), source })?;
            self.number += 1;
            if read == 0 {
                self.torn += u64::from(damaged.is_some());
                return Ok(None);
            }
            if self.text.trim_ascii().is_empty() {
                continue;
            }
            if !is_begun(&self.text) {
                return Err(LogError::Foreign { path: self.path.clone(), line: self.number });
            }
            match (serde_json::from_slice::<Line>(&self.text), damaged.take()) {
                (Ok(line), None) => return Ok(Some(self.of(line))),
                (Ok(line), Some(_)) if self.member.as_ref() != Some(&line.member) => {
                    self.torn += 1;
                    return Ok(Some(self.of(line)));
                }
                (Ok(_), Some((number, source))) => {
                    return Err(LogError::Line { path: self.path.clone(), line: number, source });
                }
                (Err(source), None) => damaged = Some((self.number, source)),
                // Two in a row: an incarnation that was killed before its first line was whole.
                (Err(source), Some(_)) => {
                    self.torn += 1;
                    damaged = Some((self.number, source));
                }
            }
        }
    }

    fn of(&mut self, line: Line) -> Line {
        self.member = Some(std::sync::Arc::clone(&line.member));
        line
    }
}

/// Whether a text is the beginning of a line of an event log, however little of it was written.
fn is_begun(text: &[u8]) -> bool {
    const BEGIN: &[u8] = b"{\"step\":";
    let length = text.len().min(BEGIN.len());
    text[..length].trim_ascii_end() == &BEGIN[..text[..length].trim_ascii_end().len()]
}

/// All event logs as one stream.
pub(super) struct Merged {
    files: Vec<Events>,
}

impl Merged {
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, LogError> {
        let files = paths.iter().map(|path| Events::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// The oldest line that is left. Within a millisecond what ends comes before what begins: nobody can tell.
    pub(super) fn next(&mut self) -> Result<Option<Line>, LogError> {
        let oldest = self
            .files
            .iter_mut()
            .filter(|file| file.next.is_some())
            .min_by_key(|file| file.next.as_ref().map(|line| (line.wall_ms, rank(line.step))));
        let Some(file) = oldest else { return Ok(None) };
        let following = file.read()?;
        Ok(std::mem::replace(&mut file.next, following))
    }

    /// Lines that were cut off by a kill.
    pub(super) fn torn(&self) -> u64 {
        self.files.iter().map(|file| file.torn).sum()
    }
}

fn rank(step: Step) -> u8 {
    match step {
        Step::Ended | Step::SetAside | Step::Gone | Step::Ran => 0,
        Step::Released => 1,
        Step::Owned | Step::Polled | Step::Skipped => 2,
        Step::Started | Step::Running => 3,
    }
}

/// Reads a log of what was sent; its last line may be cut off.
pub(super) fn sent(path: &Path, mut each: impl FnMut(Sent)) -> Result<(), LogError> {
    let failed = |source| LogError::Read { path: path.to_owned(), source };
    let mut damaged = None;
    for (number, line) in BufReader::new(File::open(path).map_err(failed)?).split(b'\n').enumerate() {
        let text = line.map_err(failed)?;
        if text.trim_ascii().is_empty() {
            continue;
        }
        if let Some((line, source)) = damaged.take() {
            return Err(LogError::Line { path: path.to_owned(), line, source });
        }
        match serde_json::from_slice(&text) {
            Ok(sent) => each(sent),
            Err(source) => damaged = Some((number as u64 + 1, source)),
        }
    }
    Ok(())
}
