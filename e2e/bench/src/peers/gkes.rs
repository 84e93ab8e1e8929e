//! Go Kafka Event Source: a Go module, its asynchronous job scheduler with keys in parallel. It commits in
//! transactions; "tuned" lets one of them hold 50,000 records, which is its look-ahead.

use std::process::Command;

use super::{Contender, PeerError, built, step};
use crate::child::Task;

const SOURCES: [super::Source; 3] = [
    ("go.mod", include_str!("../../peers/gkes/go.mod")),
    ("go.sum", include_str!("../../peers/gkes/go.sum")),
    ("main.go", include_str!("../../peers/gkes/main.go")),
];

pub(super) fn command(_: &Contender, task: &Task) -> Result<Command, PeerError> {
    let dir = built("gkes", &SOURCES, |dir| {
        let mut go = Command::new("go");
        go.args(["build", "-trimpath", "-o", "peer", "."]).env("GOFLAGS", "-mod=readonly -buildvcs=false");
        step(go, dir)
    })?;
    let mut command = Command::new(dir.join("peer"));
    command.args(task.words());
    Ok(command)
}
