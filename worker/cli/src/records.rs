//! Lines that become records: what `send` and `run --feed` read, in batches.

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keyweir_worker::NewRecord;
use keyweir_worker::lines::{self, LineError};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::args::Format;

/// Records of one batch at most.
const MOST: usize = 1_000;
/// Bytes of one batch, about.
const MOST_BYTES: usize = 4 << 20;

/// Where a key is taken from, when the line does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// What a JSON pointer finds in the value.
    Pointer(String),
    /// The first header of that name.
    Header(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(pointer) => f.write_str(pointer),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// Reads `customer`, `/customer/id` or `header:NAME`.
pub(crate) fn key_source(text: &str) -> Result<KeySource, String> {
    match text.strip_prefix("header:") {
        Some("") => Err("name the header: header:NAME".to_owned()),
        Some(name) => Ok(KeySource::Header(name.to_owned())),
        None if text.starts_with('/') => Ok(KeySource::Pointer(text.to_owned())),
        None => Ok(KeySource::Pointer(format!("/{}", text.replace('~', "~0").replace('/', "~1")))),
    }
}

/// Why a file gives no more records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordsError {
    /// It can't be opened.
    #[error("failed to open {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It can't be read.
    #[error("failed to read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A line is no record.
    #[error("failed to understand {path} (the format `lines` takes each line as it is)")]
    Line {
        path: PathBuf,
        #[source]
        source: LineError,
    },
    /// A record has nothing where its key should be: without one it would have no order, in silence.
    #[error(
        "failed to find a key in line {line} of {path}: there is nothing at {wanted}; name what every record has, \
         or give those that should have no key a null there"
    )]
    Key { path: PathBuf, line: usize, wanted: KeySource },
}

/// The records of a file or of standard input.
pub(crate) struct Records {
    path: PathBuf,
    from: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    format: Format,
    key_from: Option<KeySource>,
    line: usize,
}

impl Records {
    /// Opens a file; `-` is standard input.
    pub(crate) async fn open(
        path: &Path,
        format: Format,
        key_from: Option<KeySource>,
    ) -> Result<Self, RecordsError> {
        let from: Box<dyn AsyncRead + Send + Unpin> = if path == Path::new("-") {
            let own = std::io::stdin().as_fd().try_clone_to_owned();
            let own = own.map_err(|source| RecordsError::Open { path: path.to_owned(), source })?;
            Box::new(tokio::fs::File::from_std(std::fs::File::from(own)))
        } else {
            let opened = tokio::fs::File::open(path).await;
            Box::new(opened.map_err(|source| RecordsError::Open { path: path.to_owned(), source })?)
        };
        let from = BufReader::with_capacity(256 << 10, from);
        Ok(Self { path: path.to_owned(), from, format, key_from, line: 0 })
    }

    /// The next records: at most `most`, fewer when no more are there yet, none at the end.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Vec<NewRecord>, RecordsError> {
        let (mut records, mut bytes, mut text) = (Vec::new(), 0, Vec::new());
        while records.len() < most.min(MOST) && bytes < MOST_BYTES {
            if !records.is_empty() && !self.from.buffer().contains(&b'\n') {
                break;
            }
            text.clear();
            let read = self.from.read_until(b'\n', &mut text).await;
            let read = read.map_err(|source| RecordsError::Read { path: self.path.clone(), source })?;
            if read == 0 {
                break;
            }
            self.line += 1;
            bytes += read;
            if let Some(record) = self.record(&text)? {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn record(&self, text: &[u8]) -> Result<Option<NewRecord>, RecordsError> {
        let mut record = match self.format {
            Format::Lines => {
                let text = text.strip_suffix(b"\n").unwrap_or(text);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                NewRecord { value: Some(Bytes::copy_from_slice(text)), ..NewRecord::default() }
            }
            Format::Records if text.trim_ascii().is_empty() => return Ok(None),
            Format::Records => lines::record(text, self.line)
                .map_err(|source| RecordsError::Line { path: self.path.clone(), source })?,
        };
        if record.key.is_none()
            && let Some(wanted) = &self.key_from
        {
            let missing =
                || RecordsError::Key { path: self.path.clone(), line: self.line, wanted: wanted.clone() };
            record.key = key(wanted, &record).ok_or_else(missing)?;
        }
        Ok(Some(record))
    }
}

/// A key taken out of a record: text as it is, any other JSON as its text, null as no key. `None` = it has none there.
fn key(source: &KeySource, record: &NewRecord) -> Option<Option<Bytes>> {
    match source {
        KeySource::Header(name) => {
            record.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
        }
        KeySource::Pointer(pointer) => {
            let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
            Some(match value.pointer(pointer)? {
                Value::Null => None,
                Value::String(text) => Some(Bytes::from(text.clone())),
                other => Some(Bytes::from(other.to_string())),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_a_field_a_pointer_or_a_header() {
        let value = Bytes::from(r#"{"customer": {"id": 7}, "host": "a", "nobody": null}"#);
        let headers = vec![("kind".to_owned(), Some(Bytes::from("Order")))];
        let record = NewRecord { value: Some(value), headers, ..NewRecord::default() };
        let found = |text: &str| key(&key_source(text).expect("a source"), &record);
        assert_eq!(found("host"), Some(Some(Bytes::from("a"))));
        assert_eq!(found("/customer/id"), Some(Some(Bytes::from("7"))));
        assert_eq!(found("header:kind"), Some(Some(Bytes::from("Order"))));
        assert_eq!(found("nobody"), Some(None), "no key, on purpose");
        assert_eq!((found("nothing"), found("header:nothing")), (None, None));
    }

    #[tokio::test]
    async fn lines_become_records_batch_by_batch_until_the_end() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "{\"key\": \"a\"}\n\n{\"value\": 1}").expect("written");
        let mut records = Records::open(file.path(), Format::Records, None).await.expect("opened");
        let mut found = Vec::new();
        loop {
            let batch = records.next(1).await.expect("records");
            if batch.is_empty() {
                break;
            }
            found.extend(batch);
        }
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].value.as_deref(), Some(&b"1"[..]));
    }
}
