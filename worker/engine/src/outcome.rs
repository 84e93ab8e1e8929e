//! What a handler's answer amounts to, and why a record failed.
//!
//! Every transport ends in these types: http status codes, NDJSON lines, an exec child's answer, a compiled-in
//! function's return value. What follows an outcome is not decided here but in [`keyweir_core`]'s retry law and
//! the pump's `settle`.

use std::borrow::Cow;
use std::time::Duration;

use crate::record::NewRecord;

/// Why an attempt failed whose handler did not answer in time.
pub const TIMEOUT: &str = "HandlerTimeout";
/// Why an attempt failed whose handler panicked.
pub const PANICKED: &str = "HandlerPanicked";

/// What the handler's answer amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What becomes of the record.
    pub verdict: Verdict,
    /// What the handler wants written; durable before the record completes. Dropped unless the verdict is `Done`.
    pub outputs: Vec<Output>,
}

/// What becomes of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is complete.
    Done,
    /// This attempt failed; a later one may succeed.
    Retry {
        /// Not before this long; `None` = as the retry policy says.
        after: Option<Duration>,
        /// Why.
        failure: Failure,
    },
    /// No attempt will succeed: the record goes down its road (dead letter, park, skip, stop) at once.
    Reject(Failure),
    /// The handler can't be reached or is full. No attempt is used; dispatch to it pauses with back-off.
    Unavailable {
        /// Not before this long, where the handler said so.
        after: Option<Duration>,
        /// Why.
        failure: Failure,
    },
}

/// One record for a named output of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The output's name in the manifest.
    pub name: String,
    /// What to write there.
    pub record: NewRecord,
}

/// Why a record failed: a word for machines, a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A stable word: the same in conditions, metrics, events and headers. Few values.
    pub reason: &'static str,
    /// What a person wants to know; bounded by [`Failure::new`].
    pub text: Cow<'static, str>,
}

impl Failure {
    /// Longest text that is kept, in bytes: failures are stored with checkpoints.
    pub const MAX_TEXT: usize = 512;

    /// A failure; a longer text is cut at a character border.
    pub fn new(reason: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        let mut text = text.into();
        if text.len() > Self::MAX_TEXT {
            let cut = (0..=Self::MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.to_mut().truncate(cut);
        }
        Self { reason, text }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.text)
    }
}

impl Outcome {
    /// The record is complete and nothing is to be written.
    pub const DONE: Self = Self { verdict: Verdict::Done, outputs: Vec::new() };

    /// This attempt failed; the retry policy says when the next one is.
    pub fn retry(reason: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::from(Verdict::Retry { after: None, failure: Failure::new(reason, text) })
    }

    /// No attempt will succeed.
    pub fn reject(reason: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::from(Verdict::Reject(Failure::new(reason, text)))
    }

    /// The handler can't be reached: no attempt is used.
    pub fn unavailable(reason: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::from(Verdict::Unavailable { after: None, failure: Failure::new(reason, text) })
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, outputs: Vec::new() }
    }
}
