//! What a person sees who runs it on a terminal.

use keyweir_e2e::process::Process;
use keyweir_e2e::terminal::Terminal;
use keyweir_e2e::wait;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::running::PATIENCE;
use crate::support::scene::{From, Scene};

/// The number behind a name in a line of progress.
fn number(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("  {name} "))?;
    rest.split([' ', '.']).next()?.parse().ok()
}

#[test]
fn on_a_terminal_a_line_shows_rate_lag_what_executes_retries_and_what_is_parked() {
    let scene = Scene::set();
    let from = From::Embedded;
    let more = "retry: {maxAttempts: 2, initialDelay: 10ms}\nonExhausted: {action: Park}\nexecution: {concurrency: 2}";
    let manifest = scene.manifest("shown", &from, &scene.effects.handler_of(2, 1), more);
    let mut sent = vec![json!({"key": "bad", "value": {"act": "retry"}})];
    sent.extend((0..200).map(|i| json!({"key": format!("k{i}"), "value": {}})));
    scene.send(&from, &sent);

    let (terminal, screen) = Terminal::open(200, 50).expect("a terminal");
    let mut command = scene.command(&["run", "--listen", "127.0.0.1:0", "--embedded", "-f", "shown.yaml"]);
    command.args(["--data".as_ref(), scene.data().as_os_str()]).env("TERM", "xterm");
    assert!(manifest.is_file());
    let mut process =
        Process::start_on(screen, "keyweir", command, &scene.path("run.log")).expect("it starts");
    let mut see = |what: &str, holds: &dyn Fn(&str) -> bool| {
        let seen = wait::until(what, PATIENCE, || {
            process.must_run().expect("keyweir runs");
            terminal.text().lines().any(holds)
        });
        seen.unwrap_or_else(|error| panic!("{error}; it shows {:?}", terminal.text().lines().last()));
    };
    see("where it listens", &|line| line.starts_with("health and metrics: http://127.0.0.1:"));
    see("what is done", &|line| {
        line.contains("default/shown")
            && ["done", "lag", "retries", "parked"].map(|name| number(line, name)) == [201, 0, 1, 1].map(Some)
    });
    let wait = json!({"wait": scene.path("gate")});
    let held: Vec<_> = (0..5).map(|i| json!({"key": format!("held{i}"), "value": wait})).collect();
    scene.send(&from, &held);
    see("what executes", &|line| {
        ["done", "lag", "in flight"].map(|name| number(line, name)) == [201, 5, 2].map(Some)
    });
    scene.touch("gate");
    see("a rate", &|line| line.contains("/s  lag ") && !line.contains("  0/s  lag "));
    see("the end of it", &|line| number(line, "done") == Some(206) && number(line, "lag") == Some(0));
    process.signal(Signal::SIGTERM).expect("it can be signalled");
    let status = wait::some("its end", PATIENCE, || process.ended()).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", terminal.text());
    wait::until("the summary", PATIENCE, || {
        let text = terminal.text();
        ["records       206 in ", "retries       1", "parked        1: keyweir parked list"]
            .iter()
            .all(|row| text.contains(row))
    })
    .unwrap_or_else(|error| panic!("{error}; it shows:\n{}", terminal.text()));
}
