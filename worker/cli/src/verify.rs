//! `keyweir verify`: the oracle. Holds event logs against what was promised.
//!
//! ```text
//! LOG… ──▶ logs.rs (merged by time) ──▶ oracle.rs (a byte a record, a lane a key) ──▶ findings.rs
//! --expect LOG… ────────────────────────────────────────────────────────────────────▶
//! ```
//! * **lost**: sent and never done; without `--expect`: read, never done, and a newer owner went past it;
//! * **order**: a key went back under the same fence, or passed a record of it that had not ended;
//! * **double handling**: two records of a key executed at once;
//! * **double ownership**: two members owned a shard at once, or one that had lost it started a record.
//!
//! A record that is handled again under a newer fence is a duplicate: counted, not blamed. So is what a frozen or
//! cut-off member could not recall, as long as it cancels it when it finds out that the shard is no longer its own. A
//! record that was dead-lettered, parked, skipped or superseded is not lost; released, it may come out of its order. One
//! that retention or compaction removed while it waited is gone: counted, not blamed. What the last owner had read and
//! not finished is unfinished, not lost: only `--expect` can tell that nothing more will come.

mod findings;
mod logs;
mod oracle;
mod states;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::VerifyArgs;
use crate::{exit, say};

pub(crate) use findings::Findings;
pub(crate) use logs::LogError;
use oracle::Oracle;

pub(crate) fn verify(args: &VerifyArgs) -> ExitCode {
    match look(&args.logs, &args.expect) {
        Ok(findings) => {
            let written = if args.json { say::out(findings.as_json()) } else { say::out(&findings) };
            match (findings.is_clean(), findings.is_empty()) {
                (false, _) => ExitCode::from(exit::VIOLATED),
                // No proof is none, whoever builds on the exit code.
                (true, true) => ExitCode::FAILURE,
                (true, false) => exit::said(written),
            }
        }
        Err(error) => exit::failed(&error),
    }
}

/// What the logs say.
pub(crate) fn look(logs: &[PathBuf], expect: &[PathBuf]) -> Result<Findings, LogError> {
    let mut oracle = Oracle::default();
    let mut merged = logs::Merged::open(logs)?;
    while let Some(line) = merged.next()? {
        oracle.take(&line);
    }
    let mut findings = oracle.finish(expect.is_empty());
    findings.torn = merged.torn();
    for path in expect {
        logs::sent(path, |sent| oracle.expect(&sent, &mut findings))?;
    }
    Ok(findings)
}
