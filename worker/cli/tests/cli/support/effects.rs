//! The witness: an exec handler that writes down, in a file of its own, what it was given and what it did.
//!
//! What a record's value asks for is done: `{"act": "done" | "retry" | "reject"}`, and instead `done` once the file
//! that `unless` names is there; `{"wait": FILE}` waits for a file first. `garbage`, `endless`, `another`, `crash` and
//! `silence` are no answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

const PROGRAM: &str = r#"
import json, os, sys, time

journal = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(step, record):
    line = {"step": step, "id": record["id"], "key": record.get("key"), "attempt": record["attempt"],
            "headers": record.get("headers"), "value": record.get("value") if len(record.get("value") or "") < 200 else None,
            "size": len(record.get("value") or record.get("valueBase64") or ""), "keyBase64": record.get("keyBase64")}
    os.write(journal, (json.dumps(line) + "\n").encode())

for line in sys.stdin:
    record = json.loads(line)
    note("begin", record)
    try:
        value = json.loads(record.get("value") or "{}")
    except ValueError:
        value = {}
    if not isinstance(value, dict):
        value = {}
    while "wait" in value and not os.path.exists(value["wait"]):
        time.sleep(0.005)
    act = value.get("act", "done")
    if "unless" in value and os.path.exists(value["unless"]):
        act = "done"
    note("end", record)
    if act == "garbage":
        print("this is no answer", flush=True)
        continue
    if act == "endless":
        while True:
            sys.stdout.write("x" * 65536)
    if act == "another":
        print(json.dumps({"id": "orders/0/999999", "action": "done"}), flush=True)
        continue
    if act == "crash":
        os._exit(3)
    if act == "silence":
        time.sleep(3600)
    answer = {"id": record["id"], "action": act}
    if act != "done":
        answer["reason"] = value.get("reason", "as the value asks for")
    if act == "retry" and "after" in value:
        answer["after"] = value["after"]
    print(json.dumps(answer), flush=True)
"#;

/// The program and its journal.
pub(crate) struct Effects {
    program: PathBuf,
    journal: PathBuf,
}

/// One line of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) step: String,
    /// `topic/partition/offset`.
    pub(crate) id: String,
    pub(crate) line: Value,
}

impl Effects {
    pub(crate) fn make(directory: &Path) -> Self {
        let program = directory.join("witness.py");
        std::fs::write(&program, PROGRAM).expect("the program is written");
        Self { program, journal: directory.join("witness.jsonl") }
    }

    /// The handler of a manifest: few processes with many records each, since starting Python takes long.
    pub(crate) fn handler(&self) -> String {
        self.handler_of(4, 16)
    }

    pub(crate) fn handler_of(&self, processes: u32, records: u32) -> String {
        format!(
            "exec: {{command: [python3, {}, {}], processes: {processes}, recordsPerProcess: {records}}}",
            self.program.display(),
            self.journal.display()
        )
    }

    /// What was done so far; a last line that is being written is left out.
    pub(crate) fn seen(&self) -> Vec<Effect> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines =
            whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of the journal"));
        let word = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
        lines.map(|line| Effect { step: word(&line, "step"), id: word(&line, "id"), line }).collect()
    }

    /// How often each record was begun.
    pub(crate) fn begun(&self) -> HashMap<String, usize> {
        self.count("begin")
    }

    /// How often each record was brought to its end.
    pub(crate) fn ended(&self) -> HashMap<String, usize> {
        self.count("end")
    }

    fn count(&self, step: &str) -> HashMap<String, usize> {
        let mut count = HashMap::new();
        for effect in self.seen().into_iter().filter(|effect| effect.step == step) {
            *count.entry(effect.id).or_default() += 1;
        }
        count
    }
}
