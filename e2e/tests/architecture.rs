//! The walls of the house: which crate may see which, what the pure ones must not know, where tasks are
//! born, how big a room may be. A failure names the file, the rule and the way out.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use keyweir_e2e::source::{SourceFile, begins, rust_files, workspace_root};
use serde_json::Value;

/// Which of our crates a crate may depend on. Down only; adapters never see each other.
const EDGES: [(&str, &[&str]); 15] = [
    ("keyweir-contract", &[]),
    ("keyweir-core", &["contract"]),
    ("keyweir-engine", &["contract", "core"]),
    ("keyweir-kafka", &["contract", "core", "engine"]),
    ("keyweir-embedded", &["contract", "core", "engine"]),
    ("keyweir-etcd", &["contract", "core", "engine"]),
    ("keyweir-handlers", &["contract", "core", "engine"]),
    ("keyweir-routing", &["core", "engine"]),
    ("keyweir-worker", &["contract", "core", "engine", "kafka", "embedded", "etcd", "handlers", "routing"]),
    ("keyweir-crds", &["contract"]),
    ("keyweir-render", &["contract", "crds"]),
    ("keyweir-operator", &["contract", "crds", "render"]),
    ("keyweir", &["contract", "core", "crds", "embedded", "engine", "kafka", "render", "worker"]),
    ("keyweir-e2e", &[]),
    ("keyweir-bench", &["contract", "e2e", "engine", "handlers", "worker"]),
];

/// Crates whose tests may start real servers, which is what `keyweir-e2e` is for.
const MEETS_SERVERS: [&str; 7] = [
    "keyweir-kafka",
    "keyweir-embedded",
    "keyweir-etcd",
    "keyweir-handlers",
    "keyweir-worker",
    "keyweir-operator",
    "keyweir",
];

/// A test that samples of manifests become configurations too.
const RENDERS_ITS_SAMPLES: (&str, &str) = ("keyweir-crds", "render");

/// Who may use a library that brings I/O, a runtime or a vendor with it. What is not listed is free.
const VENDORS: [(&str, &[&str]); 15] = [
    ("rdkafka", &["keyweir-kafka"]),
    ("fjall", &["keyweir-embedded"]),
    ("etcd-client", &["keyweir-etcd"]),
    ("redis", &["keyweir-redis"]),
    ("kube", &["keyweir-crds", "keyweir-operator", "keyweir"]),
    ("kube-runtime", &["keyweir-operator"]),
    ("k8s-openapi", &["keyweir-crds", "keyweir-operator"]),
    ("reqwest", &["keyweir"]),
    ("hyper", &["keyweir-handlers"]),
    ("axum", &["keyweir-handlers", "keyweir-worker", "keyweir-operator"]),
    ("tonic", &[]),
    ("jsonschema", &["keyweir", "keyweir-crds"]),
    ("tokio", MEETS_A_RUNTIME),
    ("tokio-util", MEETS_A_RUNTIME),
    ("nix", &["keyweir-embedded", "keyweir-handlers", "keyweir-worker", "keyweir-operator", "keyweir"]),
];

const MEETS_A_RUNTIME: &[&str] = &[
    "keyweir-engine",
    "keyweir-kafka",
    "keyweir-embedded",
    "keyweir-etcd",
    "keyweir-handlers",
    "keyweir-routing",
    "keyweir-worker",
    "keyweir-operator",
    "keyweir",
];

/// They look at everything from outside and may use what they need.
const OUTSIDE: [&str; 2] = ["keyweir-e2e", "keyweir-bench"];

/// Crates that must not reach these by any path.
const NEVER_REACHES: [(&str, &[&str]); 3] = [
    ("keyweir-contract", &["tokio", "kube", "futures", "rdkafka"]),
    ("keyweir-core", &["tokio", "kube", "futures", "rdkafka"]),
    ("keyweir-engine", &["kube", "k8s-openapi", "rdkafka", "etcd-client", "fjall", "reqwest"]),
];

/// The few files where a task or a thread is born, and why there. Each of them joins what it spawns.
const SPAWNS: &[(&str, &str)] = &[
    ("worker/src/host.rs", "opening and closing a data directory blocks, awaited where it is asked for"),
    ("worker/src/http.rs", "a task for each listener"),
    ("worker/src/object.rs", "a pump and its few companions"),
    ("worker/src/membership.rs", "what a member of a fleet does beside its pump"),
    ("worker/src/routing.rs", "couriers, a listener, and a task for each stream of another member"),
    ("worker/etcd/src/keeper.rs", "a runtime of its own, so that busy handlers can't starve a lease"),
    ("worker/etcd/src/source/path.rs", "a task that follows a path, so that the pump never waits for etcd"),
    ("worker/handlers/src/exec.rs", "one task a child process, which hears it end between two records"),
    (
        "worker/handlers/src/exec/launcher.rs",
        "a thread that starts children: they die with the thread that did",
    ),
    ("worker/embedded/src/recall.rs", "file I/O that blocks, awaited where it is asked for"),
    (
        "worker/embedded/src/reader/mod.rs",
        "a thread that reads ahead, so that the pump never waits for the disk",
    ),
    ("worker/embedded/src/writer/mod.rs", "the one thread that writes"),
    ("worker/kafka/src/cold.rs", "the client library's calls block, awaited where they are asked for"),
    ("worker/kafka/src/reader.rs", "a thread that polls the client library"),
];

/// What code without I/O, clock and chance must not say.
const IMPURE: [&[&str]; 12] = [
    &["Instant", ":", ":", "now"],
    &["SystemTime"],
    &["std", ":", ":", "fs"],
    &["std", ":", ":", "net"],
    &["std", ":", ":", "env"],
    &["std", ":", ":", "thread"],
    &["std", ":", ":", "process"],
    &["async", "fn"],
    &[".", "await"],
    &["Mutex"],
    &["RwLock"],
    &["static", "mut"],
];

const MAX_FILE: usize = 500;
const MAX_FUNCTION: usize = 90;
const NO_ROOM: [&str; 6] = ["utils", "common", "shared", "helpers", "types", "misc"];

/// What cargo knows of the workspace and of everything it depends on, on this platform; asked once.
fn metadata() -> &'static Value {
    static METADATA: LazyLock<Value> = LazyLock::new(|| {
        let version = output(Command::new("rustc").arg("-vV"));
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let metadata = output(
            Command::new(env!("CARGO"))
                .args([
                    "metadata",
                    "--format-version",
                    "1",
                    "--locked",
                    "--offline",
                    "--filter-platform",
                    host,
                ])
                .current_dir(workspace_root()),
        );
        serde_json::from_str(&metadata).unwrap()
    });
    &METADATA
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct Package {
    name: String,
    id: String,
    manifest: String,
    /// Name and kind (`""`, `dev`, `build`) of each dependency.
    dependencies: Vec<(String, String)>,
}

fn members(metadata: &Value) -> Vec<Package> {
    let ours: BTreeSet<&str> = strings(&metadata["workspace_members"]).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| ours.contains(package["id"].as_str().unwrap()))
        .map(|package| Package {
            name: package["name"].as_str().unwrap().to_owned(),
            id: package["id"].as_str().unwrap().to_owned(),
            manifest: package["manifest_path"].as_str().unwrap().to_owned(),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    (one["name"].as_str().unwrap().to_owned(), one["kind"].as_str().unwrap_or("").to_owned())
                })
                .collect(),
        })
        .collect()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn none(violations: Vec<String>, way_out: &str) {
    assert!(violations.is_empty(), "{way_out}:\n  {}", violations.join("\n  "));
}

#[test]
fn crates_see_only_what_lies_below_them() {
    let metadata = metadata();
    let table: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let mut violations = Vec::new();
    for package in members(metadata) {
        let Some(allowed) = table.get(package.name.as_str()) else {
            violations.push(format!("{} is not in the table of edges", package.name));
            continue;
        };
        for (dependency, kind) in &package.dependencies {
            let Some(short) = dependency.strip_prefix("keyweir-") else { continue };
            let for_tests = kind == "dev"
                && (package.name == "keyweir-e2e"
                    || *dependency == package.name
                    || (package.name.as_str(), short) == RENDERS_ITS_SAMPLES
                    || short == "e2e" && MEETS_SERVERS.contains(&package.name.as_str()));
            if !allowed.contains(&short) && !for_tests {
                violations.push(format!("{} -> {dependency}", package.name));
            }
        }
    }
    none(violations, "edges that the table does not allow (move the code down, or put a port between)");
}

#[test]
fn vendors_stay_in_their_rooms() {
    let metadata = metadata();
    let mut violations = Vec::new();
    for package in members(metadata).iter().filter(|package| !OUTSIDE.contains(&package.name.as_str())) {
        for (dependency, _) in package.dependencies.iter().filter(|(_, kind)| kind != "dev") {
            let rule = VENDORS.iter().find(|(vendor, _)| vendor == dependency);
            if rule.is_some_and(|(_, allowed)| !allowed.contains(&package.name.as_str())) {
                violations.push(format!("{} lists {dependency}", package.name));
            }
        }
    }
    none(violations, "a vendor outside its room (use the port that its adapter implements)");
}

#[test]
fn the_pure_crates_reach_no_runtime_by_any_path() {
    let metadata = metadata();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), &node["deps"]))
        .collect();
    let mut violations = Vec::new();
    for package in members(metadata) {
        let Some((_, never)) = NEVER_REACHES.iter().find(|(name, _)| *name == package.name) else { continue };
        let mut reached = BTreeSet::new();
        let mut open = vec![package.id.as_str()];
        while let Some(id) = open.pop() {
            for edge in nodes[id].as_array().unwrap() {
                let normal = edge["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
                let next = edge["pkg"].as_str().unwrap();
                if normal && reached.insert(next) {
                    open.push(next);
                }
            }
        }
        let found = never.iter().filter(|never| reached.iter().any(|id| names[id] == **never));
        violations.extend(found.map(|never| format!("{} reaches {never}", package.name)));
    }
    none(violations, "a pure crate that depends on I/O (take the dependency out, or turn its feature off)");
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_workspace() {
    let mut violations = Vec::new();
    for package in members(metadata()) {
        let text = std::fs::read_to_string(&package.manifest).unwrap();
        if !text.contains("[lints]\nworkspace = true") {
            violations.push(format!("{}: no [lints] workspace = true", package.name));
        }
        let mut in_dependencies = false;
        for line in text.lines() {
            if let Some(section) = line.strip_prefix('[') {
                in_dependencies = section.contains("dependencies");
            } else if in_dependencies
                && line.contains('=')
                && !line.contains("workspace = true")
                && !itself(line)
            {
                violations.push(format!("{}: {line}", package.name));
            }
        }
    }
    none(violations, "write the version in the root's table and `workspace = true` here");
}

/// A crate that turns on a feature of its own for its tests.
fn itself(line: &str) -> bool {
    line.contains("path = \".\"")
}

fn production() -> Vec<SourceFile> {
    rust_files()
        .unwrap()
        .into_iter()
        .filter(|file| !file.is_test() && !file.path.starts_with("e2e/"))
        .collect()
}

fn find(files: &[SourceFile], concerned: impl Fn(&str) -> bool, patterns: &[&[&str]]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| concerned(&file.path)) {
        let tokens = file.tokens();
        for at in 0..tokens.len() {
            for pattern in patterns {
                if begins(&tokens[at..], pattern) {
                    found.push(format!("{}:{} says {}", file.path, tokens[at].line, pattern.concat()));
                }
            }
        }
    }
    found
}

#[test]
fn tasks_are_born_in_few_files() {
    let patterns: [&[&str]; 5] = [
        &["tokio", ":", ":", "spawn"],
        &["task", ":", ":", "spawn"],
        &["spawn_blocking"],
        &["thread", ":", ":", "spawn"],
        &["thread", ":", ":", "Builder"],
    ];
    let listed = |path: &str| SPAWNS.iter().any(|(file, _)| *file == path);
    let files = production();
    let strangers = find(&files, |path| !path.contains("/testing/") && !listed(path), &patterns);
    none(
        strangers,
        "a task outside the listed files (let an owner poll it, or add the file with its reason)",
    );
}

#[test]
fn core_and_contract_know_no_time_no_world_and_no_lock() {
    let pure = |path: &str| path.starts_with("worker/core/src") || path.starts_with("crds/contract/src");
    none(find(&production(), pure, &IMPURE), "the pure part takes the world as an argument");
}

#[test]
fn the_engine_has_no_lock() {
    let engine = |path: &str| path.starts_with("worker/engine/src") && !path.contains("/testing/");
    let found = find(&production(), engine, &[&["Mutex"], &["RwLock"]]);
    none(found, "one owner per piece of state, channels between owners");
}

#[test]
fn every_channel_is_bounded_and_every_select_biased() {
    let files = production();
    let mut found = find(&files, |_| true, &[&["unbounded_channel"], &["unbounded"]]);
    for file in &files {
        let tokens = file.tokens();
        for at in 0..tokens.len() {
            let select = begins(&tokens[at..], &["select", "!", "{"]);
            if select && !begins(&tokens[at + 3..], &["biased", ";"]) {
                found.push(format!("{}:{} select! without biased", file.path, tokens[at].line));
            }
        }
    }
    none(found, "bound the channel and say what happens when it is full; order the arms and say why");
}

#[test]
fn settings_are_read_at_the_edge() {
    let inside = |path: &str| {
        ["core", "engine", "kafka", "etcd", "redis", "embedded"]
            .iter()
            .any(|room| path.starts_with(&format!("worker/{room}/")))
            || path.starts_with("crds/")
    };
    let bin = |path: &str| path.contains("/bin/");
    let found = find(&production(), |path| inside(path) && !bin(path), &[&["env", ":", ":", "var"]]);
    none(found, "no environment reads below the program: take it as an argument");
}

#[test]
fn rooms_are_small() {
    let mut violations = Vec::new();
    for file in rust_files().unwrap() {
        let lines = file.lines();
        if lines > MAX_FILE {
            violations.push(format!("{}: {lines} lines, at most {MAX_FILE}", file.path));
        }
        for (name, first, last) in file.functions() {
            let lines = last - first + 1;
            if lines > MAX_FUNCTION {
                violations.push(format!(
                    "{}:{first}: fn {name} has {lines} lines, at most {MAX_FUNCTION}",
                    file.path
                ));
            }
        }
    }
    none(violations, "split it by noun");
}

#[test]
fn rooms_have_names_and_say_what_they_are_for() {
    let mut violations = Vec::new();
    for file in rust_files().unwrap() {
        if !file.text.starts_with("//! ") {
            violations.push(format!("{}: does not begin with `//! ` and its purpose", file.path));
        }
        let name = file.path.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit('/').next();
        if name.is_some_and(|name| NO_ROOM.contains(&name)) {
            violations.push(format!("{}: a name that says nothing", file.path));
        }
    }
    none(violations, "say what the room is for");
}

#[test]
fn nothing_is_left_open_or_switched_off_in_silence() {
    let mut violations = Vec::new();
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    for file in rust_files().unwrap() {
        for (at, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                violations.push(format!("{}:{} is left open", file.path, at + 1));
            }
        }
        let tokens = file.tokens();
        for at in 0..tokens.len() {
            for word in ["allow", "expect", "ignore"] {
                let plain =
                    begins(&tokens[at..], &["#", "[", word]) || begins(&tokens[at..], &["#", "!", "[", word]);
                let attribute = tokens[at..].iter().take_while(|token| token.text != "]");
                let reasoned = attribute
                    .into_iter()
                    .any(|token| token.text == "reason" || word == "ignore" && token.text == "\"");
                if plain && !reasoned {
                    violations.push(format!("{}:{} #[{word}] without a reason", file.path, tokens[at].line));
                }
            }
        }
    }
    none(violations, "finish it, or give the reason");
}

#[test]
fn the_top_level_holds_what_it_should() {
    const HOUSE: [&str; 11] = [
        "Cargo.toml",
        "Cargo.lock",
        "operator",
        "worker",
        "crds",
        "charts",
        "config",
        "e2e",
        "README.md",
        "LICENSE",
        "Makefile",
    ];
    let listed = output(Command::new("git").arg("ls-files").current_dir(workspace_root()));
    let top: BTreeSet<&str> = listed.lines().filter_map(|path| path.split('/').next()).collect();
    let strangers = top.into_iter().filter(|name| !name.starts_with('.') && !HOUSE.contains(name));
    none(strangers.map(str::to_owned).collect(), "find it a room");
}
