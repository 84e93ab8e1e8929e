//! The benchmark itself: a small run from fill to picture, without any foreign tool chain.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

use std::process::Command;

use keyweir_e2e::parts;
use serde_json::Value;

#[test]
fn a_small_run_measures_and_writes_its_results() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = parts::kafka().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_keyweir-bench"))
        .args(["--size", "smoke", "--seconds", "1", "--latency", "--kafka", kafka.bootstrap(), "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("results.json")).unwrap()).unwrap();
    let rows = results["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["aim"] == "latency"));
    for row in rows {
        let run = &row["runs"][0];
        assert!(run["rate"].as_f64().unwrap() > 100.0, "{row}");
        assert_eq!(run["violations"], 0, "{row}");
        assert!(run["peak_megabytes"].as_f64().unwrap() > 1.0, "{row}");
        assert_eq!(row["aim"] == "latency", run["latency_ms"].is_array(), "{row}");
        assert_eq!(row["aim"] == "latency", run["control_ms"].is_array(), "{row}");
    }
    let table = std::fs::read_to_string(dir.path().join("results.md")).unwrap();
    assert!(table.contains("| bare rdkafka loop, default |"), "{table}");
    assert!(std::fs::read_to_string(dir.path().join("rates.svg")).unwrap().contains("bare rdkafka loop"));
}

/// Issue 4: more workers than partitions are measured, too.
#[test]
fn a_small_run_measures_what_more_workers_than_partitions_are_worth() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_keyweir-bench"))
        .args(["routing", "--workers", "1,2", "--seconds", "1", "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("routing.json")).unwrap()).unwrap();
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["workers"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert!(rows.iter().all(|row| row["rate"].as_f64() > Some(100.0)), "{results}");
    assert!(rows[1]["hosted"].as_f64() > Some(0.0), "{results}");
}
