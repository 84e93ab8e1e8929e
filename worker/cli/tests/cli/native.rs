//! The example of a worker of one's own, run as its first lines say.

use std::path::PathBuf;
use std::process::Command;

use keyweir_e2e::ports::Port;
use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::scene::{From, Scene};

/// The example that was built beside this test: `cargo build --release --locked --workspace --example native`.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    let beside = test.ancestors().skip(1).map(|dir| dir.join("examples/native"));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .expect("it is built: cargo build --release --locked --workspace --example native")
}

#[test]
fn the_example_of_a_handler_in_rust_works_as_a_program() {
    // Where `keyweir render` says that the data is: in the directory in which the program starts.
    let scene = Scene::set();
    let data = scene.path(".keyweir");
    let scene = scene.with_data(data);
    let from = From::Embedded;
    let more = "outputs: [{name: shouted, kafka: {topic: orders.shouted}}]\nonExhausted: {deadLetter: {topic: orders.dlq}}";
    scene.manifest("native", &from, "native: {name: shout}", more);
    let rendered = scene.keyweir(&["render", "-f", "native.yaml", "--embedded"]);
    rendered.must(0);
    scene.write("worker.json", &rendered.out);

    let port = Port::take().expect("a port");
    let mut command = Command::new(example());
    command.args(["--config", "worker.json", "--listen", &port.address()]).current_dir(scene.path("."));
    let mut running = Running::start_at(command, &scene.path("native.log"), &port.address());
    let words = ["one", "two", "three"];
    let sent = words.map(|word| json!({"key": word, "value": word}));
    scene.send(&from, &sent);
    // What is no text is refused by the codec, and follows its road.
    scene.send(&from, &[json!({"key": "bytes", "valueBase64": "/w=="})]);
    running.reach("native", "completed", 4);
    assert_eq!(running.count("native", "deadLettered"), Some(1));
    let (code, said) = running.stop();
    assert_eq!(code, Some(0));
    // U161: its own hook was told of the failure.
    let heard = said.lines().find(|line| line.contains("too quiet to be shouted")).expect("it was told");
    let heard: Value = serde_json::from_str(heard).expect("JSON");
    assert_eq!((&heard["key"], &heard["level"]), (&json!("bytes"), &json!("WARN")));
    assert!(heard["shard"].as_str().is_some_and(|shard| shard.starts_with("orders/")), "{heard}");

    let read = |topic: &str| scene.read(&from, topic);
    let mut shouted: Vec<_> = read("orders.shouted").iter().map(|record| record.text()).collect();
    shouted.sort();
    assert_eq!(shouted, ["ONE", "THREE", "TWO"]);
    assert_eq!(read("orders.dlq")[0].value, Some(vec![0xff]));
}
