//! How a command ends, and the one place that tells a person why.

use std::error::Error;
use std::process::ExitCode;

use keyweir_engine::error_chain;

/// A manifest or an argument is wrong.
pub(crate) const WRONG: u8 = 2;
/// Records were parked or dead-lettered.
pub(crate) const SET_ASIDE: u8 = 3;
/// The oracle found a violation.
pub(crate) const VIOLATED: u8 = 4;

/// Says what failed, with all its causes.
pub(crate) fn failed(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("keyweir: {}", error_chain(error));
    ExitCode::FAILURE
}

/// Says all that is wrong, a line each.
pub(crate) fn wrong<T: std::fmt::Display>(mistakes: &[T]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    let plural = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    eprintln!("keyweir: {} {plural}", mistakes.len());
    ExitCode::from(WRONG)
}
