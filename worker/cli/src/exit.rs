//! How a command ends, and what a person is told about it.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use keyweir_engine::error_chain;

use crate::say;

/// A manifest or an argument is wrong.
pub(crate) const WRONG: u8 = 2;
/// Records were parked or dead-lettered.
pub(crate) const SET_ASIDE: u8 = 3;
/// The oracle found a violation.
pub(crate) const VIOLATED: u8 = 4;

/// How a command ends that has said what it was asked for, or could not.
pub(crate) fn said(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::err(format_args!("keyweir: failed to write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what failed, with all its causes.
pub(crate) fn failed(error: &(dyn Error + 'static)) -> ExitCode {
    say::err(format_args!("keyweir: {}", error_chain(error)));
    ExitCode::FAILURE
}

/// Says all that is wrong, a line each.
pub(crate) fn wrong<T: std::fmt::Display>(mistakes: &[T]) -> ExitCode {
    for mistake in mistakes {
        say::err(mistake);
    }
    let plural = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    say::err(format_args!("keyweir: {} {plural}", mistakes.len()));
    ExitCode::from(WRONG)
}
