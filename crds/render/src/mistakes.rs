//! What is wrong with an object, and the fix.

use std::fmt;

/// One mistake: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The field, as in `spec.source.kafka.group`.
    pub field: String,
    /// What is wrong and how to mend it.
    pub text: String,
}

impl Mistake {
    pub(crate) fn new(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}
