//! `30s` ⇄ [`Duration`]: the one way durations are written in manifests and configurations.
//!
//! As a module it is also a serde adapter: `#[serde(with = "crate::duration")]`, and
//! `#[serde(with = "crate::duration::optional")]` for a duration that may be absent.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use thiserror::Error;

/// What a duration looks like: one to four numbers, each with its unit.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// The text does not have the shape of [`PATTERN`].
    #[error(
        "failed to read {text:?} as a duration: write numbers with units h, m, s or ms, such as 30s or 1m30s"
    )]
    Shape {
        /// The text as it was given.
        text: String,
    },
}

/// Reads a duration such as `30s`, `1h30m` or `250ms`. Units may come in any order and add up.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError::Shape { text: text.to_owned() };
    let mut rest = text;
    let mut millis = 0_u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 5 {
            return Err(refused());
        }
        let number: u64 = rest[..digits].parse().map_err(|_| refused())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(refused)?;
        millis += number * unit;
        rest = &rest[letters..];
        if rest.is_empty() {
            return Ok(Duration::from_millis(millis));
        }
    }
    Err(refused())
}

/// Writes a duration so that [`parse`] reads the same back; what is below a millisecond is dropped.
///
/// Durations above 99 999 h are written as 99 999 h.
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(99_999 * UNITS[0].1);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, unit) in UNITS {
        if millis >= unit {
            text.push_str(&(millis / unit).to_string());
            text.push_str(name);
            millis %= unit;
        }
    }
    text
}

/// Serde adapter: writes the text of [`format`].
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Serde adapter: reads the text that [`parse`] accepts.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The serde adapter for a duration that may be absent.
pub mod optional {
    use super::{Deserialize, Deserializer, Duration, Serializer, format, parse};
    use serde::de::Error as _;

    /// Writes the text of [`format`], or null.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&format(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the text that [`parse`] accepts, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1h1m1s1ms", 3_661_001),
            ("5s5s", 10_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["", "30", "s", "1.5s", "-1s", "1d", "123456s", "1s1s1s1s1s", "1 s", "1µs"] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains("such as 30s"), "{error}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for millis in [0, 1, 999, 1_000, 60_000, 90_250, 3_600_000, 86_400_000, 359_996_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
