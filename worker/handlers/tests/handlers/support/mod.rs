//! Handlers as a worker builds them, and what tests say about their outcomes.

pub(crate) mod server;

use std::time::Duration;

use keyweir_contract::handler::{ExecHandler, Handler as Kind, HandlerConfig, HandlerOptions};
use keyweir_contract::policy::Decode;
use keyweir_contract::worker_config::ObjectIdentity;
use keyweir_engine::ports::Handler as _;
use keyweir_engine::{Outcome, Verdict};
use keyweir_handlers::testing::Draft;
use keyweir_handlers::{AnyHandler, HandlerContext, Registry};

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn build(handler: Kind, options: HandlerOptions) -> AnyHandler {
    let object = ObjectIdentity {
        kind: "StreamConsumer".to_owned(),
        namespace: "default".to_owned(),
        name: "shop".to_owned(),
        uid: String::new(),
    };
    let (decode, registry) = (Decode::default(), Registry::default());
    let context = HandlerContext { object: &object, decode: &decode, registry: &registry };
    AnyHandler::build(&HandlerConfig { handler, options }, context).expect("the handler builds")
}

pub(crate) fn http(url: &str) -> AnyHandler {
    build(Kind::Http { url: url.to_owned() }, HandlerOptions::default())
}

/// Children that run this Python program.
pub(crate) fn python(program: &str) -> ExecHandler {
    ExecHandler {
        command: "python3".to_owned(),
        args: vec!["-u".to_owned(), "-c".to_owned(), program.to_owned()],
        env: Default::default(),
        working_directory: None,
        processes: None,
        records_per_process: 1,
    }
}

pub(crate) fn exec(config: ExecHandler) -> AnyHandler {
    build(Kind::Exec(config), HandlerOptions::default())
}

/// What the handler makes of a record, within patience.
pub(crate) async fn ask(handler: &AnyHandler, draft: &Draft) -> Outcome {
    tokio::time::timeout(PATIENCE, handler.handle(draft.build())).await.expect("an outcome in time")
}

pub(crate) fn order(offset: i64) -> Draft {
    Draft::new("orders", 3, offset).key("anna").value(r#"{"total": 5}"#)
}

/// `Retry HandlerCrashed: …` and the like, to be compared by its start and what it contains.
pub(crate) fn said(outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Done => "Done".to_owned(),
        Verdict::Retry { failure, .. } => format!("Retry {failure}"),
        Verdict::Reject(failure) => format!("Reject {failure}"),
        Verdict::Unavailable { failure, .. } => format!("Unavailable {failure}"),
    }
}

#[track_caller]
pub(crate) fn assert_said(outcome: &Outcome, start: &str, contains: &str) {
    let said = said(outcome);
    assert!(
        said.starts_with(start) && said.contains(contains),
        "wanted {start:?} with {contains:?}, got {said:?}"
    );
}
