//! The samples, run as a newcomer would run them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use keyweir_engine::{Outcome, Verdict};
use keyweir_handlers::AnyHandler;
use keyweir_handlers::testing::Draft;

use crate::support::{ask, assert_said, exec, http, python, said};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");

fn order(offset: i64, value: &str) -> Draft {
    Draft::new("orders", 3, offset).key("Änne").value(value)
}

fn receipt(outcome: &Outcome) -> String {
    assert_eq!(said(outcome), "Done");
    let output = outcome.outputs.first().expect("a receipt");
    assert_eq!((output.name.as_str(), output.record.key.as_deref()), ("receipts", Some("Änne".as_bytes())));
    let value = output.record.value.as_deref().unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(value).expect("JSON").to_string()
}

async fn behaves(handler: &AnyHandler) {
    for offset in 0..3 {
        let outcome = ask(handler, &order(offset, r#"{"total": 5}"#)).await;
        assert_eq!(receipt(&outcome), r#"{"customer":"Änne","paid":5}"#);
    }
    assert_said(&ask(handler, &order(4, "{")).await, "Reject HandlerRejected", "no order with a total");
    let closed = ask(handler, &order(5, r#"{"total": 5, "bank": "closed"}"#)).await;
    assert_said(&closed, "Retry HandlerFailed", "the bank is closed");
}

#[tokio::test]
async fn the_exec_sample_handles_orders() {
    let mut config = python("");
    (config.command, config.args) = (format!("{SAMPLES}/orders.py"), Vec::new());
    let handler = exec(config);
    behaves(&handler).await;
    let closed = ask(&handler, &order(6, r#"{"total": 5, "bank": "closed"}"#)).await;
    assert!(matches!(closed.verdict, Verdict::Retry { after: Some(after), .. } if after.as_millis() == 200));
}

/// A server that ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_http_sample_handles_orders() {
    let mut command = Command::new("python3");
    command.args([&format!("{SAMPLES}/web.py"), "0"]).stdout(Stdio::piped());
    let mut server = Server(command.spawn().expect("python3"));
    let mut line = String::new();
    let stdout = server.0.stdout.take().expect("its stdout");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let port = line.trim().rsplit(' ').next().unwrap_or_default();
    let handler = http(&format!("http://127.0.0.1:{port}/"));
    behaves(&handler).await;
    let silent = ask(&handler, &order(6, r#"{"total": 5, "receipt": "none"}"#)).await;
    assert_eq!(silent, Outcome::DONE);
}
