//! The Dockerfiles, as far as they can be checked without an engine to build them: what they copy and
//! call exists, versions agree with the workspace, the final stage is small and has no privileges, and
//! the step that assembles it is run with a stand-in for the program.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

use std::fs;
use std::path::Path;
use std::process::Command;

use keyweir_e2e::source::workspace_root;

const PROGRAMS: [(&str, &str); 3] =
    [("operator", "keyweir-operator"), ("worker", "keyweir-worker"), ("worker/cli", "keyweir")];
const BASE_HAS: [&str; 2] = ["build-essential", "ca-certificates"];

/// An instruction with its arguments, continued lines joined.
struct Step {
    verb: String,
    words: String,
}

fn steps(room: &str) -> Vec<Step> {
    let text = fs::read_to_string(workspace_root().join(room).join("Dockerfile")).unwrap();
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let (verb, words) = line.split_once(' ').unwrap();
            Step { verb: verb.to_owned(), words: words.split_whitespace().collect::<Vec<_>>().join(" ") }
        })
        .collect()
}

fn all<'a>(steps: &'a [Step], verb: &str) -> Vec<&'a str> {
    steps.iter().filter(|step| step.verb == verb).map(|step| step.words.as_str()).collect()
}

fn from_manifest(key: &str) -> String {
    let text = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \""))).unwrap();
    line.trim_end_matches('"').to_owned()
}

#[test]
fn the_final_stage_is_bare_and_unprivileged() {
    for (room, program) in PROGRAMS {
        let steps = steps(room);
        let stages = all(&steps, "FROM");
        assert!(stages.len() > 1, "{room}: a single stage ships the compiler");
        assert_eq!(stages.last(), Some(&"scratch"), "{room}");
        assert_eq!(all(&steps, "ENTRYPOINT"), [format!("[\"/usr/local/bin/{program}\"]")], "{room}");
        let (user, group) = all(&steps, "USER")[0].split_once(':').unwrap();
        for id in [user, group] {
            assert!(id.parse::<u32>().is_ok_and(|id| id > 0), "{room}: USER must be a number above 0");
        }
        let at = |verb| steps.iter().rposition(|step| step.verb == verb);
        assert!(at("USER") > at("FROM"), "{room}: USER belongs to the final stage");
    }
}

#[test]
fn the_build_stage_uses_what_the_workspace_has() {
    let set_up = fs::read_to_string(workspace_root().join("e2e/setup/install.sh")).unwrap();
    let build = set_up.split("\nbuild() {").nth(1).unwrap().split("\n}").next().unwrap();
    let needed: Vec<&str> = build
        .lines()
        .filter(|line| line.trim().starts_with("tool ") || line.trim().starts_with("library "))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    for (room, program) in PROGRAMS {
        let steps = steps(room);
        let compiler = format!("rust:{}-slim-bookworm AS build", from_manifest("rust-version"));
        assert_eq!(all(&steps, "FROM")[0], compiler, "{room}");
        let runs = all(&steps, "RUN");
        for package in needed.iter().chain(&BASE_HAS) {
            assert!(runs[0].split(' ').any(|word| word == *package), "{room}: install {package} too");
        }
        assert_eq!(runs[1], format!("cargo build --release --locked -p {program}"), "{room}");
        let manifest = fs::read_to_string(workspace_root().join(room).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{program}\"")), "{room}: no package {program}");
        for copy in all(&steps, "COPY").iter().filter(|copy| !copy.starts_with("--from=")) {
            let source = copy.split(' ').next().unwrap();
            assert!(workspace_root().join(source).exists(), "{room}: COPY {source}");
        }
    }
    let ignored = fs::read_to_string(workspace_root().join(".dockerignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "/target"), "the context must not carry target/");
}

#[test]
fn the_assembled_root_holds_a_program_that_runs() {
    let stand_in = env!("CARGO_BIN_EXE_keyweir-parts");
    for (room, program) in PROGRAMS {
        let dir = tempfile::tempdir().unwrap();
        let copied = dir.path().join("program");
        fs::copy(stand_in, &copied).unwrap();
        let image = dir.path().join("image");
        let steps = steps(room);
        let assemble = all(&steps, "RUN")[2]
            .replace(&format!("target/release/{program}"), &copied.display().to_string())
            .replace("/image", &image.display().to_string());
        let status =
            Command::new("sh").args(["-ec", &assemble]).current_dir(workspace_root()).status().unwrap();
        assert!(status.success(), "{room}: {assemble}");
        assert!(image.join("etc/ssl/certs/ca-certificates.crt").exists(), "{room}");
        assert_runs_inside(&image, program);
    }
}

/// Runs the program with the image as its root, where we may; it then finds its loader and libraries.
fn assert_runs_inside(image: &Path, program: &str) {
    let entry = format!("/usr/local/bin/{program}");
    assert!(image.join(&entry[1..]).exists());
    let mut chroot = Command::new("chroot");
    let output = chroot.arg(image).arg(&entry).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("Operation not permitted") {
        eprintln!("not root: {entry} was assembled and not run");
        return;
    }
    assert!(said.contains("usage: keyweir-parts"), "{said}");
}
