//! Child processes, well and badly behaved. Each test runs real ones.

use std::time::{Duration, Instant};

use futures::future::join_all;
use keyweir_contract::ByteSize;
use keyweir_contract::handler::{ExecHandler, Handler as Kind, HandlerOptions};
use keyweir_engine::Verdict;
use keyweir_engine::ports::Handler as _;
use keyweir_handlers::testing::Draft;

use crate::support::{PATIENCE, ask, assert_said, build, exec, order, python, said};

/// A handler that does what the value says, in Python.
const OBEDIENT: &str = "
import json, sys, time, os, signal
def say(**line):
    print(json.dumps(line), flush=True)
for line in sys.stdin:
    r = json.loads(line)
    exec(r['value'])
";

fn program(offset: i64, value: &str) -> Draft {
    Draft::new("orders", 3, offset).key("anna").value(value)
}

const DONE: &str = "say(id=r['id'], action='done')";

fn one(program: &str) -> ExecHandler {
    ExecHandler { processes: Some(1), ..python(program) }
}

/// The number of the child that handles now.
async fn child_of(handler: &keyweir_handlers::AnyHandler) -> String {
    let told = "say(id=r['id'], action='output', name='pid', value=str(os.getpid())); say(action='done')";
    let outcome = ask(handler, &program(1, told)).await;
    let output = outcome.outputs.first().unwrap_or_else(|| unreachable!("{}", said(&outcome)));
    String::from_utf8_lossy(output.record.value.as_deref().unwrap_or_default()).into_owned()
}

fn runs(pid: &str) -> bool {
    // A zombie that nobody has waited for yet is no running process.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_child_handles_record_after_record() {
    let handler = exec(one(OBEDIENT));
    let first = child_of(&handler).await;
    for offset in 0..50 {
        assert_eq!(said(&ask(&handler, &program(offset, DONE)).await), "Done");
    }
    assert_eq!(child_of(&handler).await, first, "the same child all the time");
    handler.close().await;
    assert!(!runs(&first));
}

#[tokio::test]
async fn as_many_children_run_as_records_are_under_way() {
    let handler = exec(python(OBEDIENT));
    let slow = program(
        1,
        "time.sleep(0.3); say(action='output', name='pid', value=str(os.getpid())); say(action='done')",
    );
    let outcomes = join_all((0..3).map(|_| ask(&handler, &slow))).await;
    let children: std::collections::BTreeSet<_> =
        outcomes.iter().filter_map(|outcome| outcome.outputs[0].record.value.clone()).collect();
    assert_eq!(children.len(), 3);
}

#[tokio::test]
async fn records_wait_where_the_number_of_children_is_set() {
    let handler = exec(one(OBEDIENT));
    let outcomes = join_all((0..20).map(|offset| {
        let draft = program(offset, DONE);
        let handler = &handler;
        async move { ask(handler, &draft).await }
    }))
    .await;
    assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Done));
}

#[tokio::test]
async fn a_child_may_hold_several_records_and_answer_in_any_order() {
    let config = ExecHandler {
        processes: Some(1),
        records_per_process: 3,
        ..python(
            "
import json, sys
held = [json.loads(sys.stdin.readline()) for _ in range(3)]
for r in reversed(held):
    print(json.dumps({'id': r['id'], 'action': 'output', 'name': 'o', 'value': r['id']}))
    print(json.dumps({'id': r['id'], 'action': 'done'}), flush=True)
sys.stdin.read()
",
        )
    };
    let handler = exec(config);
    let outcomes = join_all((0..3).map(|offset| {
        let draft = program(offset, "");
        let handler = &handler;
        async move { ask(handler, &draft).await }
    }))
    .await;
    for (offset, outcome) in outcomes.iter().enumerate() {
        assert_eq!(said(outcome), "Done");
        assert_eq!(outcome.outputs[0].record.value.as_deref(), Some(format!("orders/3/{offset}").as_bytes()));
    }
}

#[tokio::test]
async fn records_go_to_the_child_that_holds_the_fewest() {
    // A child answers when it holds two records: who got them all would leave the other one silent.
    let pairs = "
import json, os, sys
while True:
    pair = [json.loads(sys.stdin.readline()) for _ in range(2)]
    for r in pair:
        print(json.dumps({'id': r['id'], 'action': 'output', 'name': 'pid', 'value': str(os.getpid())}))
        print(json.dumps({'id': r['id'], 'action': 'done'}), flush=True)
";
    let handler = exec(ExecHandler { processes: Some(3), records_per_process: 8, ..python(pairs) });
    let outcomes = join_all((0..6).map(|offset| {
        let (draft, handler) = (program(offset, ""), &handler);
        async move { ask(handler, &draft).await }
    }))
    .await;
    let mut held = std::collections::BTreeMap::<_, usize>::new();
    for outcome in &outcomes {
        assert_eq!(said(outcome), "Done");
        *held.entry(outcome.outputs[0].record.value.clone()).or_default() += 1;
    }
    assert_eq!(held.into_values().collect::<Vec<_>>(), [2, 2, 2]);
}

#[tokio::test]
async fn a_crash_costs_one_attempt_and_says_the_last_words() {
    let handler = exec(one(OBEDIENT));
    let outcome = ask(&handler, &program(1, "sys.exit('out of paper')")).await;
    assert_said(&outcome, "Retry HandlerCrashed", "out of paper");
    assert_said(&outcome, "Retry HandlerCrashed", "exit status: 1");
    let killed = ask_until_answered(&handler, "os.kill(os.getpid(), 9)").await;
    assert_said(&killed, "Retry HandlerCrashed", "signal: 9");
    assert_eq!(said(&ask_until_answered(&handler, DONE).await), "Done");
}

/// As the engine does: what is unavailable is asked again after its pause.
async fn ask_until_answered(handler: &keyweir_handlers::AnyHandler, value: &str) -> keyweir_engine::Outcome {
    let begun = Instant::now();
    loop {
        let outcome = ask(handler, &program(1, value)).await;
        match outcome.verdict {
            Verdict::Unavailable { after, .. } if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(after.unwrap_or(Duration::from_millis(10))).await;
            }
            _ => return outcome,
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_fails_the_attempt_and_replaces_the_child() {
    let options = HandlerOptions { max_response_bytes: ByteSize::new(10_000), ..HandlerOptions::default() };
    let handler = build(Kind::Exec(one(OBEDIENT)), options);
    for (value, start, contains) in [
        ("print('hello')", "Retry HandlerAnswerInvalid", "hello"),
        ("say(id='orders/3/99', action='done')", "Retry HandlerAnswerInvalid", "orders/3/99"),
        ("sys.stdout.write('x' * 50_000); sys.stdout.flush()", "Retry HandlerAnswerTooLarge", "10000"),
        ("print('\\n'.join(['{\"action\":\"progress\"}'] * 1000))", "Retry HandlerAnswerTooLarge", "10000"),
        ("say(action='dance')", "Retry HandlerAnswerInvalid", "dance"),
        (
            "sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush()",
            "Retry HandlerAnswerInvalid",
            "no action",
        ),
        ("os.close(1); time.sleep(60)", "Retry HandlerCrashed", "closed"),
    ] {
        let before = child_of_patiently(&handler).await;
        assert_said(&ask(&handler, &program(1, value)).await, start, contains);
        assert!(!runs(&before), "{value}: the child is gone");
    }
}

async fn child_of_patiently(handler: &keyweir_handlers::AnyHandler) -> String {
    assert_eq!(said(&ask_until_answered(handler, DONE).await), "Done");
    child_of(handler).await
}

#[tokio::test]
async fn a_word_of_another_kind_is_rejected_and_the_child_stays() {
    let handler = exec(one(OBEDIENT));
    let before = child_of(&handler).await;
    let outcome = ask(&handler, &program(1, "say(action='state', value=1)")).await;
    assert_said(&outcome, "Reject HandlerActionUnsupported", "state");
    assert_eq!(child_of(&handler).await, before);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_unavailable_with_the_fix() {
    let missing = ExecHandler { command: "/no/such/program".to_owned(), ..python("") };
    let handler = exec(missing);
    assert_said(&ask(&handler, &order(1)).await, "Unavailable HandlerCannotStart", "give the path");
    let folder = ExecHandler { command: "/".to_owned(), ..python("") };
    assert_said(&ask(&exec(folder), &order(1)).await, "Unavailable HandlerCannotStart", "chmod +x");
}

#[tokio::test]
async fn a_program_can_be_started_before_there_is_a_record() {
    let handler = exec(one(OBEDIENT));
    assert_eq!(handler.reach().await, Ok(()));
    assert_eq!(said(&ask(&handler, &program(1, DONE)).await), "Done");
    let missing = exec(ExecHandler { command: "/no/such/program".to_owned(), ..python("") });
    assert_eq!(missing.reach().await.expect_err("there is none").reason, "HandlerCannotStart");
}

#[tokio::test]
async fn a_program_that_ends_before_it_reads_is_unavailable_and_backs_off() {
    let handler = exec(python("import sys; sys.exit('no config')"));
    let mut pauses = Vec::new();
    while pauses.len() < 3 {
        let outcome = ask(&handler, &order(1)).await;
        assert_said(&outcome, "Unavailable HandlerCannotStart", "no config");
        if let Verdict::Unavailable { after: Some(after), .. } = outcome.verdict {
            pauses.push(after);
            tokio::time::sleep(after).await;
        }
    }
    assert!(pauses[2] > pauses[0], "{pauses:?}");
}

#[tokio::test]
async fn a_record_that_a_leaving_child_had_not_read_goes_to_another() {
    // Each child handles one record and leaves, as some runtimes do against leaks.
    let handler = exec(one("print('{\"action\":\"done\"}') if input() else None"));
    for offset in 0..5 {
        assert_eq!(said(&ask(&handler, &program(offset, "x")).await), "Done");
    }
}

#[tokio::test]
async fn a_cancelled_record_ends_its_child_even_one_that_ignores_sigterm() {
    let handler = exec(one(OBEDIENT));
    let child = child_of(&handler).await;
    let stubborn = program(1, "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)");
    let given_up = tokio::time::timeout(Duration::from_millis(200), handler.handle(stubborn.build())).await;
    assert!(given_up.is_err());
    wait_until("the child is gone", || !runs(&child)).await;
    assert_ne!(child_of_patiently(&handler).await, child);
}

#[tokio::test]
async fn a_record_that_took_too_long_says_nothing_about_starting_the_next_child() {
    let handler = exec(one(OBEDIENT));
    for offset in 0..3 {
        let slow = program(offset, "time.sleep(60)");
        assert!(tokio::time::timeout(Duration::from_millis(300), ask(&handler, &slow)).await.is_err());
        assert_eq!(said(&ask(&handler, &program(9, DONE)).await), "Done");
    }
}

#[tokio::test]
async fn grandchildren_go_with_their_child() {
    let handler = exec(one(OBEDIENT));
    let spawns = "
import subprocess
p = subprocess.Popen(['sleep', '600'])
say(action='output', name='pid', value=str(p.pid)); say(action='done')";
    let outcome = ask(&handler, &program(1, spawns)).await;
    let grandchild =
        String::from_utf8_lossy(outcome.outputs[0].record.value.as_deref().unwrap_or_default()).into_owned();
    assert!(runs(&grandchild));
    assert_said(&ask(&handler, &program(1, "os._exit(3)")).await, "Retry HandlerCrashed", "3");
    wait_until("the grandchild is gone", || !runs(&grandchild)).await;
}

#[tokio::test]
async fn a_handler_that_promised_signs_of_life_is_stuck_without_them() {
    let options = HandlerOptions {
        // Thrice that must be enough to start Python on a busy machine.
        heartbeat: Some(Duration::from_secs(2)),
        timeout: None,
        ..HandlerOptions::default()
    };
    let handler = build(Kind::Exec(one(OBEDIENT)), options);
    assert_eq!(said(&ask(&handler, &program(1, DONE)).await), "Done");
    let lively = "
for _ in range(8):
    time.sleep(1); say(action='progress')
say(action='done')";
    assert_eq!(said(&ask(&handler, &program(1, lively)).await), "Done");
    assert_said(&ask(&handler, &program(1, "time.sleep(600)")).await, "Retry HandlerStuck", "signs of life");
}

#[tokio::test]
async fn a_flood_on_stderr_stops_nobody() {
    let handler = exec(one(OBEDIENT));
    let flood = format!("sys.stderr.write('noise\\n' * 200_000); sys.stderr.write('y' * 300_000); {DONE}");
    assert_eq!(said(&ask(&handler, &program(1, &flood)).await), "Done");
}

#[tokio::test]
async fn environment_arguments_and_directory_are_as_given() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = one("
import json, os, sys
for line in sys.stdin:
    told = {'env': os.environ['GREETING'], 'args': sys.argv[1:], 'path': bool(os.environ.get('PATH'))}
    told['directory'] = os.getcwd()
    print(json.dumps({'action': 'output', 'name': 'o', 'value': told}))
    print('{\"action\":\"done\"}', flush=True)
");
    config.args.push("an argument".to_owned());
    config.env.insert("GREETING".to_owned(), "grüß Gott".to_owned());
    config.working_directory = Some(directory.path().to_owned());
    let outcome = ask(&exec(config), &order(1)).await;
    let told: serde_json::Value =
        serde_json::from_slice(outcome.outputs[0].record.value.as_deref().unwrap_or_default()).expect("JSON");
    let place = directory.path().canonicalize().expect("a path");
    assert_eq!(
        told,
        serde_json::json!({"env": "grüß Gott", "args": ["an argument"], "path": true, "directory": place})
    );
}

#[tokio::test]
async fn a_record_of_many_megabytes_passes() {
    let value = format!("{DONE} # {}", "x".repeat(20 << 20));
    let handler = exec(one(OBEDIENT));
    assert_eq!(said(&ask(&handler, &program(1, &value)).await), "Done");
}

#[tokio::test]
async fn a_child_is_asked_to_finish_by_the_end_of_its_stdin() {
    let folder = tempfile::tempdir().expect("a directory");
    let mark = folder.path().join("flushed");
    let handler = exec(one(&format!("{OBEDIENT}\nopen({:?}, 'w').write('yes')", mark)));
    assert_eq!(said(&ask(&handler, &program(1, DONE)).await), "Done");
    handler.close().await;
    assert_eq!(std::fs::read_to_string(&mark).expect("the child flushed"), "yes");
    assert_said(&ask(&handler, &program(1, DONE)).await, "Unavailable", "stopping");
}

#[tokio::test]
async fn children_end_when_the_handler_is_dropped() {
    let handler = exec(one(OBEDIENT));
    let child = child_of(&handler).await;
    drop(handler);
    wait_until("the child is gone", || !runs(&child)).await;
}

/// Where the process below tells its child's number.
const TELL: &str = "KEYWEIR_TEST_TELL_CHILD";

#[tokio::test]
#[ignore = "a process of its own, run and killed by the next test"]
async fn a_worker_to_be_killed() {
    let Some(place) = std::env::var_os(TELL) else { return };
    let handler = exec(one(OBEDIENT));
    std::fs::write(place, child_of(&handler).await).expect("the file is written");
    // The child hears neither of the end of its stdin nor of signals that can be ignored.
    ask(&handler, &program(2, "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")).await;
}

#[tokio::test]
async fn children_die_with_a_killed_worker() {
    let folder = tempfile::tempdir().expect("a directory");
    let told = folder.path().join("child");
    let mut worker = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "exec::a_worker_to_be_killed", "--ignored"])
        .env(TELL, &told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("this program again");
    let read = || std::fs::read_to_string(&told).unwrap_or_default();
    wait_until("the child is told", || !read().is_empty()).await;
    // Time to begin with the record that sleeps; being killed before is as good a case.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let child = read();
    assert!(runs(&child));
    worker.kill().expect("the worker is killed");
    worker.wait().expect("the worker is gone");
    wait_until("the child is gone", || !runs(&child)).await;
}
