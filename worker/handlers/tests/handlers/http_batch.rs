//! Web services that answer about many records at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_contract::handler::{Batch, Handler as Kind, HandlerOptions};
use keyweir_engine::ports::{BatchLimits, Handler as _};
use keyweir_engine::{Failure, Outcome};
use keyweir_handlers::AnyHandler;
use keyweir_handlers::testing::Draft;
use tokio::net::TcpListener;

use crate::support::server::{STREAMED, Server, actions, piece};
use crate::support::{PATIENCE, assert_said, build, order, said};

fn batching(url: &str) -> AnyHandler {
    let batch = Some(Batch { max_records: 50, linger: Duration::from_millis(2) });
    build(Kind::Http { url: url.to_owned() }, HandlerOptions { batch, ..HandlerOptions::default() })
}

async fn ask(url: &str, drafts: &[Draft]) -> Result<Vec<Outcome>, Failure> {
    let requests = drafts.iter().map(Draft::build).collect();
    let handler = batching(url);
    tokio::time::timeout(PATIENCE, handler.handle_batch(requests)).await.expect("outcomes in time")
}

/// What a service with this answer makes of the records 0, 1 and 2.
async fn answered(answer: impl Into<Vec<u8>>) -> Result<Vec<Outcome>, Failure> {
    let server = Server::saying(answer).await;
    ask(&server.url, &[order(0), order(1), order(2)]).await
}

fn done(offset: u32) -> String {
    format!("{{\"id\":\"orders/3/{offset}\",\"action\":\"done\"}}\n")
}

#[tokio::test]
async fn the_limits_are_the_manifests() {
    let limits = BatchLimits { max_records: 50, linger: Duration::from_millis(2) };
    assert_eq!(batching("http://orders/").batch(), limits);
}

#[tokio::test]
async fn records_travel_as_a_batch_of_cloud_events() {
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let server = Server::start(move |mut connection| {
        let keeps = Arc::clone(&keeps);
        async move {
            let asked = connection.request().await;
            *keeps.lock().expect("no panic") = asked;
            connection.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let drafts = [
        order(1).header("traceparent", "00-1-2-01").header("shop", "\"1\"").attempt(2),
        Draft::new("orders", 0, 1 << 40).key(b"\xff").value(b"\x00\xff"),
        Draft::new("orders", 0, 2),
    ];
    assert_eq!(ask(&server.url, &drafts).await, Ok(vec![Outcome::DONE; 3]));
    let asked = kept.lock().expect("no panic").take().expect("a request");
    assert_eq!(asked.header("content-type"), Some("application/cloudevents-batch+json"));
    assert_eq!(asked.header("keyweir-time-left-ms"), Some("30000"));
    let events: serde_json::Value = serde_json::from_slice(&asked.body).expect("JSON");
    assert_eq!(
        events[0],
        serde_json::json!({
            "specversion": "1.0", "id": "orders/3/1", "source": "/default/shop/orders", "type": "io.keyweir.record",
            "time": "2023-11-14T22:13:20.123Z", "topic": "orders", "partition": 3, "offset": "1", "attempt": 2,
            "fence": "1.2", "keyencoding": "text", "partitionkey": "anna", "traceparent": "00-1-2-01",
            "datacontenttype": "application/octet-stream", "headers": "{\"shop\":\"\\\"1\\\"\"}",
            "data_base64": "eyJ0b3RhbCI6IDV9"
        })
    );
    assert_eq!(
        (&events[1]["partitionkeybase64"], &events[1]["data_base64"]),
        (&"/w==".into(), &"AP8=".into())
    );
    assert_eq!((&events[1]["offset"], &events[2]["nullvalue"]), (&"1099511627776".into(), &true.into()));
    assert_eq!((&events[2]["keyencoding"], events[2].get("data_base64")), (&"none".into(), None));
}

#[tokio::test]
async fn each_line_is_for_the_record_it_names() {
    let lines = format!(
        "{}{}{}{}",
        "{\"id\":\"orders/3/2\",\"action\":\"output\",\"name\":\"audit\",\"value\":2}\n",
        "{\"id\":\"orders/3/0\",\"action\":\"reject\",\"reason\":\"no\"}\n",
        done(2),
        "{\"id\":\"orders/3/1\",\"action\":\"retry\",\"after\":\"1s\"}\n",
    );
    let outcomes = answered(actions(&lines)).await.expect("outcomes");
    assert_said(&outcomes[0], "Reject HandlerRejected", "no");
    assert_said(&outcomes[1], "Retry HandlerFailed", "another attempt");
    assert_eq!((said(&outcomes[2]), outcomes[2].outputs.len()), ("Done".to_owned(), 1));
}

#[tokio::test]
async fn a_missing_record_is_tried_again() {
    let outcomes = answered(actions(&format!("{}{}", done(0), done(2)))).await.expect("outcomes");
    assert_eq!((said(&outcomes[0]), said(&outcomes[2])), ("Done".to_owned(), "Done".to_owned()));
    assert_said(&outcomes[1], "Retry HandlerAnswerInvalid", "without done");
}

#[tokio::test]
async fn stray_lines_harm_nobody() {
    let reject = "{\"id\":\"orders/3/0\",\"action\":\"reject\"}\n";
    let lines =
        format!("{}{}{reject}{}garbage\n{{\"action\":\"done\"}}\n{}", done(99), done(0), done(1), done(2));
    assert_eq!(answered(actions(&lines)).await, Ok(vec![Outcome::DONE; 3]));
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_charges_nobody() {
    for (answer, reason) in [
        ("HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nboom".to_owned(), "HandlerFailed"),
        ("HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n".to_owned(), "HandlerRejected"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(), "HandlerAnswerInvalid"),
        (actions("garbage\n"), "HandlerAnswerInvalid"),
        (actions(&"x".repeat(2 << 20)), "HandlerAnswerTooLarge"),
        ("nonsense\r\n\r\n".to_owned(), "HandlerConnectionLost"),
    ] {
        let failure = answered(answer).await.expect_err(reason);
        assert_eq!(failure.reason, reason, "{failure}");
    }
}

#[tokio::test]
async fn what_was_answered_before_the_connection_was_lost_stands() {
    let server = Server::start(|mut connection| async move {
        connection.request().await;
        connection.say(STREAMED).await;
        connection.say(piece(&done(1))).await;
    })
    .await;
    let outcomes = ask(&server.url, &[order(0), order(1)]).await.expect("outcomes");
    assert_said(&outcomes[0], "Retry HandlerConnectionLost", "");
    assert_eq!(said(&outcomes[1]), "Done");
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_unavailable_for_all() {
    let port =
        TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    let outcomes = ask(&format!("http://127.0.0.1:{port}/"), &[order(0), order(1)]).await.expect("outcomes");
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| said(outcome).starts_with("Unavailable HandlerUnreachable")));
    let full =
        answered("HTTP/1.1 503 Full\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n").await.expect("outcomes");
    assert!(full.iter().all(|outcome| said(outcome).starts_with("Unavailable HandlerBusy")));
}
