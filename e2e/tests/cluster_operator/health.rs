//! The rule by which Argo CD tells the health of an object: it is Lua, and is run here as Argo CD runs it.

use std::fs;
use std::process::Command;

use keyweir_e2e::source::workspace_root;
use serde_json::{Value, json};

#[test]
fn the_health_rule_speaks_of_conditions_that_there_are() {
    let read = |path: &str| fs::read_to_string(workspace_root().join(path)).unwrap();
    let known = read("operator/src/controllers/stream_consumer/conditions.rs");
    let rule = read("config/health/argocd.yaml");
    let named = rule.split("found[\"").skip(1).filter_map(|rest| rest.split('"').next());
    let named: Vec<&str> = named.collect();
    assert_eq!(named, ["Ready", "Stalled", "Paused"]);
    for name in named {
        assert!(known.contains(&format!(": &str = \"{name}\";")), "no condition {name}");
    }
}

#[test]
fn the_health_rule_says_of_each_state_what_it_is() {
    let state = |generation: i64, conditions: &[(&str, &str, &str)]| {
        let list: Vec<Value> = conditions
            .iter()
            .map(|(type_, status, reason)| {
                json!({"type": type_, "status": status, "reason": reason, "message": "a sentence"})
            })
            .collect();
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": generation, "conditions": list}})
    };
    for (object, status) in [
        (json!({"metadata": {"generation": 1}}), "Progressing"),
        (state(1, &[("Ready", "True", "Available")]), "Progressing"),
        (state(2, &[("Ready", "False", "RollingOut")]), "Progressing"),
        (state(2, &[("Ready", "True", "Available")]), "Healthy"),
        (state(2, &[("Ready", "True", "ScaledToZero"), ("Stalled", "False", "AsExpected")]), "Healthy"),
        (state(2, &[("Ready", "False", "SecretMissing"), ("Stalled", "True", "SecretMissing")]), "Degraded"),
        (state(2, &[("Ready", "True", "Paused"), ("Paused", "True", "Requested")]), "Suspended"),
        (state(2, &[("Ready", "True", "Stopped"), ("Paused", "True", "Requested")]), "Suspended"),
    ] {
        let said = health(&object);
        assert_eq!(said.split(": ").next(), Some(status), "{said} of {object}");
    }
}

/// Status and message that Argo CD would show of an object.
fn health(object: &Value) -> String {
    let path = workspace_root().join("config/health/argocd.yaml");
    let text = fs::read_to_string(path).unwrap();
    let map: Value = serde_saphyr::from_str(&text).unwrap();
    let rule = map["data"]["resource.customizations.health.keyweir.io_StreamConsumer"].as_str().unwrap();
    let program = format!(
        "local function judge(obj)\n{rule}\nend\nlocal health = judge({})\nprint(health.status .. ': ' .. health.message)\n",
        lua(object)
    );
    let output = Command::new("lua5.4").args(["-e", &program]).output().unwrap();
    assert!(output.status.success(), "{}\n{program}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// JSON as a Lua expression.
fn lua(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("[{name:?}] = {}", lua(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", ")),
        Value::Null => "nil".to_owned(),
        plain => plain.to_string(),
    }
}
