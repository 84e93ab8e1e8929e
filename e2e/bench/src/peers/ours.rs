//! Our worker as a library, as a user's own worker binary runs it: one object on Kafka, checkpoints in a data
//! directory, the group's offset as the mirror, default settings but for the concurrency. The compiled-in
//! handler counts as the peers do and waits by the built-in delay.

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::WorkerConfig;
use keyweir_contract::handler::{Batch, Builtin, Handler as Kind, HandlerConfig, HandlerOptions};
use keyweir_contract::policy::{Decode, Limits};
use keyweir_contract::worker_config::{CONTRACT_VERSION, ObjectIdentity};
use keyweir_e2e::ports::Port;
use keyweir_e2e::process::Process;
use keyweir_e2e::wait;
use keyweir_handlers::{AnyHandler, BuildError, HandlerContext};
use keyweir_worker::ports::{BatchLimits, Handler, Request};
use keyweir_worker::{Applied, Failure, Host, HostOptions, Outcome, Registry};
use serde_json::{Value, json};

use super::{Contender, PeerError, bare};
use crate::child::Task;
use crate::meter::{Begun, Meter};

pub(super) fn command(_: &Contender, task: &Task) -> Result<Command, PeerError> {
    bare::itself("ours", task)
}

struct Counting {
    meter: Arc<Meter>,
    /// What waits, or the web service; `None` for a handler that takes no time.
    inner: Option<AnyHandler>,
}

impl Counting {
    fn begin(&self, request: &Request) -> Begun {
        let record = &request.record;
        self.meter.begin(record.key().unwrap_or_default(), record.value().unwrap_or_default())
    }
}

impl Handler for Counting {
    async fn handle(&self, request: Request) -> Outcome {
        let begun = self.begin(&request);
        let outcome = match &self.inner {
            Some(inner) => inner.handle(request).await,
            None => Outcome::DONE,
        };
        self.meter.end(&begun);
        outcome
    }

    async fn handle_batch(&self, requests: Vec<Request>) -> Result<Vec<Outcome>, Failure> {
        let Some(inner) = &self.inner else { return Ok(vec![Outcome::DONE; requests.len()]) };
        let begun: Vec<Begun> = requests.iter().map(|request| self.begin(request)).collect();
        let outcomes = inner.handle_batch(requests).await;
        begun.iter().for_each(|begun| self.meter.end(begun));
        outcomes
    }

    fn batch(&self) -> BatchLimits {
        self.inner.as_ref().map_or(BatchLimits::ONE, AnyHandler::batch)
    }
}

/// Runs until it is killed.
///
/// # Errors
/// When the worker can't be started.
#[tokio::main]
pub async fn run(task: &Task) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let config: WorkerConfig = serde_json::from_value(configuration(task))?;
    let meter = Meter::start(task);
    let service = task.setting.starts_with("http").then(|| Service::start(dir.path())).transpose()?;
    let kind = kind(task, service.as_ref());
    let mut natives = Registry::default();
    natives.register("count", move || {
        let inner = kind.as_ref().map(build).transpose().map_err(Box::new)?;
        Ok(Counting { meter: Arc::clone(&meter), inner })
    });
    let options = HostOptions { data: Some(dir.path().to_owned()), natives, ..HostOptions::default() };
    let mut host = Host::start(options).await?;
    for (object, applied) in host.apply(vec![config]).await {
        match applied {
            Applied::Started => {}
            other => return Err(format!("{object} was not started: {other:?}").into()),
        }
    }
    std::future::pending().await
}

/// The web service of the http rows, in a process group of its own: its time is not ours.
struct Service {
    port: Port,
    _process: Process,
}

impl Service {
    fn start(dir: &Path) -> Result<Service, Box<dyn Error>> {
        let port = Port::take()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["child", "service", &port.address()]).process_group(0);
        let process = Process::start("the web service", command, &dir.join("service.log"))?;
        wait::until("the web service", Duration::from_secs(20), || wait::answers(&port.address()))?;
        Ok(Service { port, _process: process })
    }
}

/// The handler inside the counting one.
fn kind(task: &Task, service: Option<&Service>) -> Option<HandlerConfig> {
    let mut options = HandlerOptions::default();
    if task.setting == "http-batch" {
        options.batch = Some(Batch::default());
    }
    let handler = match service {
        Some(service) => Kind::Http { url: format!("http://{}/", service.port.address()) },
        None if task.handler.is_zero() => return None,
        None => Kind::Builtin(Builtin::Delay { duration: task.handler }),
    };
    Some(HandlerConfig { handler, options })
}

fn build(config: &HandlerConfig) -> Result<AnyHandler, BuildError> {
    let object = ObjectIdentity {
        kind: "StreamConsumer".into(),
        namespace: "default".into(),
        name: "bench".into(),
        uid: String::new(),
    };
    let (decode, registry) = (Decode::default(), Registry::default());
    AnyHandler::build(config, HandlerContext { object: &object, decode: &decode, registry: &registry })
}

fn configuration(task: &Task) -> Value {
    json!({
        "contractVersion": CONTRACT_VERSION,
        "object": {"kind": "StreamConsumer", "namespace": "default", "name": "bench"},
        "fixed": {
            "source": {"kafka": {
                "endpoint": {"bootstrapServers": [task.bootstrap]},
                "topics": [task.topic],
                "group": task.group,
                "startAt": "earliest",
                "partitionDiscoveryInterval": "60s",
            }},
            "handler": {"handler": {"native": {"name": "count"}}, "options": HandlerOptions::default()},
            "onUndecodable": "skip",
            "onExhausted": "stop",
        },
        "live": {
            "execution": {
                "concurrency": {"fixed": task.concurrency},
                "limits": Limits::default(),
            },
            "checkpointInterval": "1s",
            "drainTimeout": "30s",
        },
    })
}
