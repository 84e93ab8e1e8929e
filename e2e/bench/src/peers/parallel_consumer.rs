//! Confluent Parallel Consumer: Maven artifacts, key order, commits every so often. "vertx" waits without
//! threads, "core" has a thread for each record at once; "tuned" raises its buffer to 100,000 records.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Contender, PeerError, built, step};
use crate::child::Task;

const SOURCES: [super::Source; 2] = [
    ("pom.xml", include_str!("../../peers/parallel-consumer/pom.xml")),
    ("Peer.java", include_str!("../../peers/parallel-consumer/Peer.java")),
];

pub(super) fn command(_: &Contender, task: &Task) -> Result<Command, PeerError> {
    let dir = built("parallel-consumer", &SOURCES, build)?;
    let mut command = Command::new("java");
    command.args(["-Xmx2g", "-XX:+UseG1GC", "-cp"]).arg(class_path(&dir)).arg("Peer").args(task.words());
    Ok(command)
}

fn build(dir: &Path) -> Result<(), PeerError> {
    let mut mvn = Command::new("mvn");
    mvn.args([
        "-q",
        "-B",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        "-DoutputDirectory=libs",
    ]);
    step(mvn, dir)?;
    fs::create_dir_all(dir.join("classes")).map_err(PeerError::Sources)?;
    let mut javac = Command::new("javac");
    javac.args(["--release", "17", "-d", "classes", "-cp", "libs/*", "Peer.java"]);
    step(javac, dir)
}

fn class_path(dir: &Path) -> String {
    format!("{}:{}/*", dir.join("classes").display(), dir.join("libs").display())
}
