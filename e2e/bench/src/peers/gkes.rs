//! Go Kafka Event Source: a Go module, its asynchronous job scheduler with keys in parallel. It commits in
//! transactions; "tuned" lets one of them hold 50,000 records, which is its look-ahead.

use std::path::PathBuf;
use std::process::Command;

use super::{Contender, PeerError, built, step};
use crate::child::Task;

const SOURCES: [super::Source; 4] = [
    ("go.mod", include_str!("../../peers/gkes/go.mod")),
    ("go.sum", include_str!("../../peers/gkes/go.sum")),
    ("main.go", include_str!("../../peers/gkes/main.go")),
    ("moves.go", include_str!("../../peers/gkes/moves.go")),
];

pub(super) fn command(_: &Contender, task: &Task) -> Result<Command, PeerError> {
    let mut command = Command::new(program()?);
    command.args(task.words());
    Ok(command)
}

/// The program, built once: a contender, or with a `log=` word a member whose group changes.
///
/// # Errors
/// When it can't be built.
pub fn program() -> Result<PathBuf, PeerError> {
    let dir = built("gkes", &SOURCES, |dir| {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-o", "peer", "."]).env("GOFLAGS", "-mod=readonly -buildvcs=false");
        step(go, dir)
    })?;
    Ok(dir.join("peer"))
}
