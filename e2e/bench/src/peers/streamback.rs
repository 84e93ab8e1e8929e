//! Streamback: a Python package, one record at a time in each process. "tuned" runs a process per partition
//! and lets each flush every 200 records.

use std::process::Command;

use super::{Contender, PeerError, built, step};
use crate::child::Task;

const SOURCES: [super::Source; 2] = [
    ("requirements.txt", include_str!("../../peers/streamback/requirements.txt")),
    ("peer.py", include_str!("../../peers/streamback/peer.py")),
];

pub(super) fn command(_: &Contender, task: &Task) -> Result<Command, PeerError> {
    let dir = built("streamback", &SOURCES, |dir| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--copies", "venv"]);
        step(venv, dir)?;
        let mut pip = Command::new("venv/bin/python");
        pip.args(["-m", "pip", "install", "--quiet", "-r", "requirements.txt"]);
        step(pip, dir)
    })?;
    let mut command = Command::new(dir.join("venv/bin/python"));
    command.arg(dir.join("peer.py")).args(task.words());
    Ok(command)
}
