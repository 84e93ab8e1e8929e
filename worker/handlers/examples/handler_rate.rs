//! How fast handlers alone are: `cargo run --release -p keyweir-handlers --example handler_rate -- [SECONDS [PART OF NAME]]`.
//!
//! A trivial web service runs beside it on the same machine; calls are polled by one task, as the pump does. Prints
//! records per second and CPU time per record, of the whole process, the service included.

use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::post;
use futures::stream::{FuturesUnordered, StreamExt as _};
use keyweir_contract::handler::{
    Batch, Builtin, ExecHandler, Handler as Kind, HandlerConfig, HandlerOptions,
};
use keyweir_contract::policy::Decode;
use keyweir_contract::worker_config::ObjectIdentity;
use keyweir_engine::Verdict;
use keyweir_engine::ports::{Handler as _, Request};
use keyweir_handlers::testing::Draft;
use keyweir_handlers::{AnyHandler, HandlerContext, Registry};
use nix::sys::resource::{UsageWho, getrusage};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let seconds = std::env::args().nth(1).map_or(Ok(2), |text| text.parse::<u64>())?;
    let run = Run { length: Duration::from_secs(seconds), part: std::env::args().nth(2).unwrap_or_default() };
    let url = serve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for concurrency in [1, 64, 1000] {
            let http = build(Kind::Http { url: format!("{url}/one") }, None)?;
            run.one_by_one(&format!("http, one by one, {concurrency} at a time"), &http, concurrency).await;
        }
        let batch = Batch { max_records: 100, linger: Duration::from_millis(5) };
        let http = build(Kind::Http { url: format!("{url}/many") }, Some(batch))?;
        for concurrency in [1, 8] {
            run.in_batches(&format!("http, batches of 100, {concurrency} at a time"), &http, concurrency)
                .await;
        }
        for (millis, concurrency) in [(1, 64), (1, 1000), (10, 64), (10, 1000)] {
            let duration = Duration::from_millis(millis);
            let delay = build(Kind::Builtin(Builtin::Delay { duration }), None)?;
            let name = format!("delay of {millis} ms, {concurrency} at a time");
            let rate = run.one_by_one(&name, &delay, concurrency).await;
            let ceiling = concurrency as f64 / duration.as_secs_f64();
            if rate > 0.0 {
                println!("{:>44} {:.1} % of the ceiling", "", 100.0 * rate / ceiling);
            }
        }
        let exec = ExecHandler {
            command: "/bin/sh".to_owned(),
            args: vec![
                "-c".to_owned(),
                "while read -r line; do echo '{\"action\":\"done\"}'; done".to_owned(),
            ],
            env: Default::default(),
            working_directory: None,
            processes: None,
            records_per_process: 1,
        };
        let exec = build(Kind::Exec(exec), None)?;
        run.one_by_one("exec, a shell, 8 at a time", &exec, 8).await;
        exec.close().await;
        Ok(())
    })
}

fn build(handler: Kind, batch: Option<Batch>) -> Result<AnyHandler, Failed> {
    let object = ObjectIdentity {
        kind: "StreamConsumer".to_owned(),
        namespace: "default".to_owned(),
        name: "rate".to_owned(),
        uid: String::new(),
    };
    let (decode, registry) = (Decode::default(), Registry::default());
    let context = HandlerContext { object: &object, decode: &decode, registry: &registry };
    let options = HandlerOptions { batch, ..HandlerOptions::default() };
    Ok(AnyHandler::build(&HandlerConfig { handler, options }, context)?)
}

/// A service on a thread of its own: `/one` is done without a body, `/many` names each record.
fn serve() -> Result<String, Failed> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let routes = Router::new().route("/one", post(|_: Bytes| async {})).route("/many", post(many));
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, routes).await
        })
    });
    Ok(url)
}

async fn many(events: Bytes) -> Result<Response, Infallible> {
    let events: Vec<serde_json::Value> = serde_json::from_slice(&events).unwrap_or_default();
    let mut lines = String::new();
    for event in events {
        lines.push_str(&format!("{{\"id\":{},\"action\":\"done\"}}\n", event["id"]));
    }
    let mut answer = Response::new(Body::from(lines));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(answer)
}

struct Run {
    length: Duration,
    /// Only what has this in its name is run.
    part: String,
}

impl Run {
    async fn one_by_one(&self, name: &str, handler: &AnyHandler, concurrency: usize) -> f64 {
        let call = |request| async {
            let outcome = handler.handle(request).await;
            assert_eq!(outcome.verdict, Verdict::Done);
            1
        };
        // Making a record costs more than what is built in.
        let request = record(0);
        self.measure(name, concurrency, |_| call(request.clone())).await
    }

    async fn in_batches(&self, name: &str, handler: &AnyHandler, concurrency: usize) {
        let call = |requests| async {
            let outcomes = handler.handle_batch(requests).await.unwrap_or_default();
            assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Done));
            outcomes.len()
        };
        let batch = |offset: i64| call((0..100).map(|place| record(offset * 100 + place)).collect());
        self.measure(name, concurrency, batch).await;
    }

    async fn measure<F: Future<Output = usize>>(
        &self,
        name: &str,
        concurrency: usize,
        call: impl Fn(i64) -> F,
    ) -> f64 {
        if !name.contains(&self.part) {
            return 0.0;
        }
        let (begun, cpu) = (Instant::now(), cpu_time());
        let mut calls = FuturesUnordered::new();
        let (mut offset, mut records) = (0, 0);
        loop {
            while calls.len() < concurrency {
                calls.push(call(offset));
                offset += 1;
            }
            records += calls.next().await.unwrap_or(0);
            if begun.elapsed() > self.length {
                break;
            }
        }
        let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_time() - cpu);
        let rate = records as f64 / took;
        println!("{name:>44} {rate:>10.0} records/s {:>7.2} µs of CPU each", cpu * 1e6 / records as f64);
        rate
    }
}

fn record(offset: i64) -> Request {
    Draft::new("orders", 3, offset).key("customer-1").value([b'x'; 96]).build()
}

fn cpu_time() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    })
}
