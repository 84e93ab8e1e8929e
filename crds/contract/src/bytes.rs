//! `64Mi` ⇄ [`ByteSize`]: sizes as Kubernetes quantities, whole bytes only.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

/// What a size looks like: a whole number and at most one suffix.
pub const PATTERN: &str = "^[0-9]{1,12}(k|M|G|T|Ki|Mi|Gi|Ti)?$";
/// The same, or nothing.
pub const PATTERN_OR_EMPTY: &str = "^([0-9]{1,12}(k|M|G|T|Ki|Mi|Gi|Ti)?)?$";

const SUFFIXES: [(&str, u64); 9] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ByteSizeError {
    /// The text does not have the shape of [`PATTERN`], or names more bytes than can be counted.
    #[error(
        "failed to read {text:?} as a size: write a whole number with k, M, G, T, Ki, Mi, Gi or Ti, such as 64Mi"
    )]
    Shape {
        /// The text as it was given.
        text: String,
    },
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// That many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// That many mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let refused = || ByteSizeError::Shape { text: text.to_owned() };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 12 {
            return Err(refused());
        }
        let number: u64 = text[..digits].parse().map_err(|_| refused())?;
        let (_, factor) = SUFFIXES.iter().find(|(name, _)| *name == &text[digits..]).ok_or_else(refused)?;
        number.checked_mul(*factor).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    /// Writes the shortest text with a binary suffix that reads back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = SUFFIXES[..4]
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(&SUFFIXES[8]);
        write!(f, "{}{name}", self.0 / factor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_suffix() {
        for (text, bytes) in [("0", 0), ("1500", 1500), ("64Mi", 64 << 20), ("1k", 1000), ("2Gi", 2 << 30)] {
            assert_eq!(text.parse(), Ok(ByteSize::new(bytes)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "Mi", "1.5Gi", "-1", "64MiB", "64mi", "1 Mi", "1234567890123", "999999999999Ti"] {
            let error = text.parse::<ByteSize>().expect_err(text);
            assert!(error.to_string().contains("such as 64Mi"), "{error}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 1 << 20, 64 << 20, 10 << 30, 1 << 40] {
            let size = ByteSize::new(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(ByteSize::mebibytes(64).to_string(), "64Mi");
    }
}
