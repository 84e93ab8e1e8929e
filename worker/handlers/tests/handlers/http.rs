//! Web services that answer about one record, well and badly.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use keyweir_contract::ByteSize;
use keyweir_contract::handler::{Handler as Kind, HandlerOptions};
use keyweir_engine::ports::Handler as _;
use keyweir_engine::{Outcome, Verdict};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::server::{STREAMED, Server, actions, piece};
use crate::support::{PATIENCE, ask, assert_said, build, http, order, said};

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const DONE: &str = "{\"action\":\"done\"}\n";

async fn outcome_of(answer: &str) -> Outcome {
    let server = Server::saying(answer).await;
    ask(&http(&server.url), &order(1)).await
}

#[tokio::test]
async fn a_record_travels_as_a_cloud_event() {
    let (sender, asked) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let server = Server::start(move |mut connection| {
        let sender = Arc::clone(&sender);
        async move {
            let asked = connection.request().await;
            connection.say(NO_CONTENT).await;
            if let (Some(asked), Some(sender)) = (asked, sender.lock().expect("no panic").take()) {
                let _ = sender.send(asked);
            }
        }
    })
    .await;
    assert_eq!(ask(&http(&server.url), &order(17).header("shop", "1")).await, Outcome::DONE);
    let asked = asked.await.expect("a request");
    assert!(asked.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{}", asked.head);
    assert_eq!(asked.header("ce-id"), Some("orders/3/17"));
    assert_eq!(asked.header("ce-source"), Some("/default/shop/orders"));
    assert_eq!(asked.header("keyweir-header-shop"), Some("1"));
    assert_eq!(asked.header("keyweir-time-left-ms"), Some("30000"));
    assert_eq!(asked.body, br#"{"total": 5}"#);
}

#[tokio::test]
async fn no_body_is_done_however_it_is_said() {
    for answer in [
        NO_CONTENT,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 202 Accepted\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ] {
        assert_eq!(outcome_of(answer).await, Outcome::DONE, "{answer}");
    }
}

#[tokio::test]
async fn actions_are_taken_as_they_stream() {
    let server = Server::start(|mut connection| async move {
        while connection.request().await.is_some() {
            connection.say(STREAMED).await;
            for part in
                ["{\"action\":\"output\",\"na", "me\":\"audit\",\"value\":[1]}\n{\"action\"", ":\"done\"}"]
            {
                connection.say(piece(part)).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            connection.say("0\r\n\r\n").await;
        }
    })
    .await;
    let handler = http(&server.url);
    for offset in 0..3 {
        let outcome = ask(&handler, &order(offset)).await;
        assert_eq!(said(&outcome), "Done");
        assert_eq!(outcome.outputs[0].record.value.as_deref(), Some(&b"[1]"[..]));
    }
    assert_eq!(server.connections(), 1, "kept and used again");
}

#[tokio::test]
async fn a_status_alone_decides_where_there_is_no_success() {
    for (answer, start, contains) in [
        (
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\nno total",
            "Reject HandlerRejected",
            "no total",
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "Reject HandlerRejected", "404"),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nboom", "Retry HandlerFailed", "boom"),
        ("HTTP/1.1 504 Slow\r\ncontent-length: 0\r\n\r\n", "Retry HandlerFailed", "504"),
        (
            "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n",
            "Retry HandlerAnswerInvalid",
            "/b",
        ),
    ] {
        assert_said(&outcome_of(answer).await, start, contains);
    }
}

#[tokio::test]
async fn a_full_service_is_unavailable_for_as_long_as_it_says() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let said = format!("HTTP/1.1 {status}\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
        let outcome = outcome_of(&said).await;
        let after = Some(Duration::from_secs(7));
        assert!(
            matches!(&outcome.verdict, Verdict::Unavailable { after: a, .. } if *a == after),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_and_an_unknown_name_are_unavailable() {
    let port =
        TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    let refused = ask(&http(&format!("http://127.0.0.1:{port}/")), &order(1)).await;
    assert_said(&refused, "Unavailable HandlerUnreachable", "refused");
    let unknown = ask(&http("http://no-such-host.invalid/"), &order(1)).await;
    assert_said(&unknown, "Unavailable HandlerUnreachable", "no-such-host.invalid");
}

#[tokio::test]
async fn a_service_can_be_reached_before_there_is_a_record() {
    let server = Server::saying(NO_CONTENT).await;
    let handler = http(&server.url);
    assert_eq!(handler.reach().await, Ok(()));
    assert_eq!(ask(&handler, &order(1)).await, Outcome::DONE);
    assert_eq!(server.connections(), 1, "the first record has the connection");
    let url = server.url.clone();
    drop((server, handler));
    tokio::task::yield_now().await;
    assert_eq!(http(&url).reach().await.expect_err("nobody listens").reason, "HandlerUnreachable");
}

#[tokio::test]
async fn tls_that_is_none_is_unavailable() {
    let server = Server::start(|mut connection| async move {
        connection.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.request().await;
    })
    .await;
    let handler = http(&server.url.replace("http://", "https://"));
    assert_said(&ask(&handler, &order(1)).await, "Unavailable HandlerUnreachable", "corrupt message");
}

#[tokio::test]
async fn garbage_is_a_failed_attempt() {
    for (answer, start, contains) in [
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), "Retry HandlerConnectionLost", "invalid HTTP"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<h1>Login</h1>\n"
                .to_owned(),
            "Retry HandlerAnswerInvalid",
            "text/html",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
            "Retry HandlerAnswerInvalid",
            "no type",
        ),
        (actions("hello\n"), "Retry HandlerAnswerInvalid", "hello"),
        (
            actions("{\"action\":\"done\",\"id\":\"orders/3/99\"}\n"),
            "Retry HandlerAnswerInvalid",
            "orders/3/99",
        ),
        (actions("{\"action\":\"progress\"}\n"), "Retry HandlerAnswerInvalid", "without done"),
        (actions("\n\n"), "Retry HandlerAnswerInvalid", "without done"),
        (actions("{\"action\":\"timer\"}\n"), "Reject HandlerActionUnsupported", "timer"),
    ] {
        assert_said(&outcome_of(&answer).await, start, contains);
    }
}

#[tokio::test]
async fn a_head_without_end_is_a_failed_attempt() {
    let server = Server::start(|mut connection| async move {
        if connection.request().await.is_some() && connection.say("HTTP/1.1 200 OK\r\n").await {
            while connection.say(format!("x-filler: {}\r\n", "y".repeat(1000))).await {}
        }
    })
    .await;
    assert_said(&ask(&http(&server.url), &order(1)).await, "Retry HandlerConnectionLost", "");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_the_limit() {
    for line in ["{\"action\":\"progress\"}\n", "x"] {
        let server = Server::start(move |mut connection| async move {
            if connection.request().await.is_some() && connection.say(STREAMED).await {
                while connection.say(piece(&line.repeat(1000))).await {}
            }
        })
        .await;
        let options =
            HandlerOptions { max_response_bytes: ByteSize::new(100_000), ..HandlerOptions::default() };
        let handler = build(Kind::Http { url: server.url.clone() }, options);
        assert_said(&ask(&handler, &order(1)).await, "Retry HandlerAnswerTooLarge", "100000");
    }
}

#[tokio::test]
async fn what_follows_the_end_of_a_record_is_not_waited_for() {
    let server = Server::start(|mut connection| async move {
        if connection.request().await.is_some() && connection.say(STREAMED).await {
            connection.say(piece(DONE)).await;
            while connection.say(piece("{\"action\":\"progress\"}\n")).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    })
    .await;
    let handler = http(&server.url);
    for offset in 0..3 {
        assert_eq!(ask(&handler, &order(offset)).await, Outcome::DONE);
    }
    assert_eq!(server.connections(), 3, "a connection that still talks is not used again");
}

#[tokio::test]
async fn a_connection_lost_after_sending_is_a_failed_attempt() {
    let nothing = Server::start(|mut connection| async move { drop(connection.request().await) }).await;
    assert_said(&ask(&http(&nothing.url), &order(1)).await, "Retry HandlerConnectionLost", "after sending");
    let half = Server::start(|mut connection| async move {
        connection.request().await;
        connection
            .say("HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 500\r\n\r\n")
            .await;
        connection.say("{\"action\":\"progress\"}\n").await;
    })
    .await;
    assert_said(&ask(&http(&half.url), &order(1)).await, "Retry HandlerConnectionLost", "");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_nothing() {
    let server = Server::start(|mut connection| async move {
        connection.request().await;
        connection.say(NO_CONTENT).await;
    })
    .await;
    let handler = http(&server.url);
    for offset in 0..30 {
        assert_eq!(ask(&handler, &order(offset)).await, Outcome::DONE);
        // Long enough for the close to arrive: one that arrives later than this cannot be told from a crash.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(server.connections(), 30);
}

#[tokio::test]
async fn a_silent_service_hears_of_the_cancellation() {
    let (closed, hears) = oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let server = Server::start(move |mut connection| {
        let closed = Arc::clone(&closed);
        async move {
            connection.request().await;
            let none = connection.request().await.is_none();
            if let Some(closed) = closed.lock().expect("no panic").take() {
                let _ = closed.send(none);
            }
        }
    })
    .await;
    let handler = http(&server.url);
    let given_up = tokio::time::timeout(Duration::from_millis(50), handler.handle(order(1).build())).await;
    assert!(given_up.is_err());
    assert!(tokio::time::timeout(PATIENCE, hears).await.expect("in time").expect("it heard"));
}

#[tokio::test]
async fn an_error_text_that_trickles_is_not_waited_for() {
    let server = Server::start(|mut connection| async move {
        connection.request().await;
        connection.say("HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while connection.say(piece("o")).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let begun = Instant::now();
    assert_said(&ask(&http(&server.url), &order(1)).await, "Retry HandlerFailed", "500");
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_service_that_promised_signs_of_life_is_stuck_without_them() {
    let server = Server::start(|mut connection| async move {
        connection.request().await;
        connection.say(STREAMED).await;
        for _ in 0..5 {
            connection.say(piece("{\"action\":\"progress\"}\n")).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    let heartbeat = Some(Duration::from_millis(150));
    let handler = build(
        Kind::Http { url: server.url.clone() },
        HandlerOptions { heartbeat, ..HandlerOptions::default() },
    );
    let begun = Instant::now();
    assert_said(&ask(&handler, &order(1)).await, "Retry HandlerStuck", "");
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn many_records_at_a_time_share_the_connections() {
    let server = Server::saying(actions(DONE)).await;
    let handler = http(&server.url);
    for _ in 0..5 {
        let outcomes = join_all((0..20).map(|offset| {
            let (draft, handler) = (order(offset), &handler);
            async move { ask(handler, &draft).await }
        }))
        .await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::DONE));
    }
    assert!(server.connections() <= 20, "{}", server.connections());
    handler.close().await;
}

#[tokio::test]
async fn a_record_of_many_megabytes_passes() {
    let server = Server::saying(NO_CONTENT).await;
    let outcome = ask(&http(&server.url), &order(1).value(vec![7; 50 << 20])).await;
    assert_eq!(outcome, Outcome::DONE);
}

#[tokio::test]
async fn an_early_refusal_of_a_large_record_is_heard() {
    let server = Server::start(|mut connection| async move {
        connection
            .say("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 9\r\n\r\ntoo large")
            .await;
        while connection.request().await.is_some() {}
    })
    .await;
    let outcome = ask(&http(&server.url), &order(1).value(vec![7; 20 << 20])).await;
    assert_said(&outcome, "Reject HandlerRejected", "too large");
}
