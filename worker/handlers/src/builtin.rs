//! Handlers that Keyweir has itself, for trying things and for benchmarks. None allocates for a record, except
//! `map`, whose outputs are new records, and `fail`.
//!
//! Up: [`crate::AnyHandler`].

mod delay;
mod line;
mod map;

use keyweir_contract::handler::Builtin as Config;
use keyweir_core::Attempt;
use keyweir_engine::Outcome;
use keyweir_engine::ports::Request;

pub(crate) use self::delay::{Delay, KernelTimer};
pub(crate) use self::line::Wait;
pub use self::map::ExpressionError;
use self::map::Map;
use crate::reason;

/// A built-in handler.
#[derive(Debug)]
pub(crate) enum Builtin {
    /// Done at once. `echo` is the same here: a `StreamConsumer` has nobody to reply to.
    Drop,
    /// Done after a while.
    Delay(Delay),
    /// An output made by a template.
    Map(Map),
    /// Fails the first attempts, or all.
    Fail { text: String, attempts: Option<u32> },
}

/// Why a built-in handler can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BuiltinError {
    /// The expression of `map` is none.
    #[error("failed to read the expression of the built-in map")]
    Expression(#[source] ExpressionError),
    /// The system gives no timer.
    #[error("failed to open a timer for the built-in delay")]
    Timer(#[source] std::io::Error),
}

impl Builtin {
    /// The handler that a manifest asks for.
    pub(crate) fn build(config: &Config) -> Result<Self, BuiltinError> {
        Ok(match config {
            Config::Echo | Config::Drop => Self::Drop,
            Config::Delay { duration } => {
                Self::Delay(Delay::new(*duration, KernelTimer::new().map_err(BuiltinError::Timer)?))
            }
            Config::Map { expression, output } => {
                Self::Map(Map::read(expression, output).map_err(BuiltinError::Expression)?)
            }
            Config::Fail { reason, attempts } => Self::Fail { text: reason.clone(), attempts: *attempts },
        })
    }

    /// Handles a record; `Err` = wait first, then it is done.
    #[inline]
    pub(crate) fn handle(&self, request: &Request) -> Result<Outcome, Wait<'_, KernelTimer>> {
        match self {
            Self::Drop => Ok(Outcome::DONE),
            Self::Delay(line) => Err(line.wait()),
            Self::Map(map) => Ok(map.apply(request)),
            Self::Fail { text, attempts } => Ok(fail(text, *attempts, request.attempt)),
        }
    }
}

fn fail(text: &str, attempts: Option<u32>, attempt: Attempt) -> Outcome {
    if attempts.is_some_and(|failing| attempt.0 > failing) {
        return Outcome::DONE;
    }
    Outcome::retry(reason::HANDLER_FAILED, text.to_owned())
}

#[cfg(test)]
mod tests {
    use keyweir_engine::Verdict;

    use super::*;

    #[test]
    fn fail_fails_as_often_as_it_was_told() {
        let verdict = |attempts, attempt| fail("on purpose", attempts, Attempt(attempt)).verdict;
        assert!(
            matches!(verdict(Some(2), 2), Verdict::Retry { failure, .. } if failure.text == "on purpose")
        );
        assert_eq!(verdict(Some(2), 3), Verdict::Done);
        assert!(matches!(verdict(None, 99), Verdict::Retry { .. }));
    }
}
