//! A whole run: a broker, filled topics, every trial of the plan, results written after each one, so that an
//! interrupted run keeps what it has.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyweir_e2e::broker::{Broker, BrokerOptions, Strength};
use keyweir_e2e::kafka::{Kafka, unique};
use keyweir_engine::error_chain;

use crate::args::Args;
use crate::child::Task;
use crate::dataset::{self, Format};
use crate::machine::Machine;
use crate::peers::Contender;
use crate::plan::{Aim, Plan, Shape, Trial};
use crate::results::{Measured, Results, Row};
use crate::runner::{self, TrialError};
use crate::{plot, report};

/// Streamback handles a few ten thousand records a second at most.
const ENVELOPES: u64 = 500_000;
const STEADY_RATE: u32 = 5_000;
const WARM_UP: Duration = Duration::from_secs(5);

/// Measures what the command line asks for.
///
/// # Errors
/// When there is no broker, a topic can't be filled, results can't be written, or an order was violated.
pub fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(args);
    fs::create_dir_all(&args.out)?;
    let broker = match args.kafka {
        Some(_) => None,
        None => Some(Broker::start_with(BrokerOptions::of(Strength::Full))?),
    };
    let kafka = match (&args.kafka, &broker) {
        (Some(address), _) => Kafka::at(address),
        (None, Some(broker)) => broker.kafka(),
        (None, None) => return Err("no broker".into()),
    };
    let mut run = Run {
        kafka,
        broker: broker.as_ref().map(Broker::id),
        out: args.out.clone(),
        topics: BTreeMap::new(),
        warm: false,
        results: Results {
            machine: Machine::here(),
            keys: dataset::KEYS,
            records: plan.records,
            window_seconds: plan.window.as_secs_f64(),
            rows: plan.trials.iter().map(row).collect(),
        },
        plan,
    };
    run.all()
}

/// Writes table and picture of a file of results again, beside it.
///
/// # Errors
/// When it can't be read or they can't be written.
pub fn report(file: &Path) -> Result<(), Box<dyn Error>> {
    let results: Results = serde_json::from_slice(&fs::read(file)?)?;
    write(&results, file.parent().unwrap_or(Path::new(".")))?;
    println!("{}", report::markdown(&results));
    Ok(())
}

struct Run {
    kafka: Kafka,
    broker: Option<u32>,
    out: PathBuf,
    /// Filled topics by what they hold.
    topics: BTreeMap<String, (String, u64)>,
    /// The broker is fast at small requests.
    warm: bool,
    results: Results,
    plan: Plan,
}

impl Run {
    fn all(&mut self) -> Result<(), Box<dyn Error>> {
        let log = self.out.join("contenders.log");
        fs::write(&log, "")?;
        for round in 0..self.plan.repeat {
            for at in 0..self.plan.trials.len() {
                let trial = self.plan.trials[at];
                let measured = self.one(&trial, &log)?;
                say(round, &trial, &measured);
                let row = &mut self.results.rows[at];
                match measured {
                    Ok(measured) => row.runs.push(measured),
                    Err(failure) => row.failures.push(failure),
                }
                write(&self.results, &self.out)?;
            }
        }
        println!("\n{}", report::markdown(&self.results));
        println!("Results, table and picture: {}", self.out.display());
        self.judge()
    }

    /// One trial. What a contender does wrong is a result; what we can't do is an error.
    fn one(&mut self, trial: &Trial, log: &Path) -> Result<Result<Measured, String>, Box<dyn Error>> {
        let (topic, records) = match trial.aim {
            Aim::Rate => self.filled(trial.shape, trial.contender.format())?,
            Aim::Latency => {
                if !self.warm {
                    dataset::warm(&self.kafka, STEADY_RATE)?;
                    self.warm = true;
                }
                let topic = unique("bench-steady");
                dataset::fill(&self.kafka, &topic, trial.shape, Format::Plain, 0)?;
                (topic, 0)
            }
        };
        let steady = trial.aim == Aim::Latency;
        let task = Task {
            bootstrap: self.kafka.bootstrap().to_owned(),
            topic,
            group: unique("bench"),
            partitions: trial.shape.partitions,
            records,
            handler: trial.handler,
            concurrency: trial.contender.concurrency,
            setting: trial.contender.setting.to_owned(),
            window: self.plan.window + if steady { WARM_UP } else { Duration::ZERO },
            warm_up: if steady { WARM_UP } else { Duration::ZERO },
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let producer = steady
                .then(|| scope.spawn(|| dataset::trickle(&self.kafka, &task.topic, STEADY_RATE, &stop)));
            let control = steady.then(|| scope.spawn(|| self.control(&task)));
            let mut measured = runner::run(&trial.contender, &task, self.broker, log);
            let control = control.map(|control| control.join().map_err(|_| "the control panicked"));
            stop.store(true, Ordering::Relaxed);
            if let (Ok(measured), Some(control)) = (&mut measured, control.transpose()?) {
                measured.control_ms = control?.latency_ms;
            }
            let behind = match producer {
                Some(producer) => producer.join().map_err(|_| "the steady producer panicked")??,
                None => Duration::ZERO,
            };
            if behind > self.plan.behind {
                return Ok(Err(format!("the producer was {behind:?} behind at the end")));
            }
            Ok(measured.map_err(|error| error_chain(&error)))
        })
    }

    /// A bare loop beside a contender: whatever stops the machine, the broker or the producer stops it too.
    fn control(&self, task: &Task) -> Result<Measured, TrialError> {
        let task = Task { group: unique("bench"), concurrency: 1, setting: "default".into(), ..task.clone() };
        runner::run(&Contender::CONTROL, &task, self.broker, &self.out.join("control.log"))
    }

    /// A topic with records, filled when it is first asked for.
    fn filled(&mut self, shape: Shape, format: Format) -> Result<(String, u64), Box<dyn Error>> {
        let name = format!("{shape}-{format:?}");
        if let Some(found) = self.topics.get(&name) {
            return Ok(found.clone());
        }
        let records =
            if format == Format::Envelope { self.plan.records.min(ENVELOPES) } else { self.plan.records };
        let topic = unique("bench");
        let begun = Instant::now();
        dataset::fill(&self.kafka, &topic, shape, format, records)?;
        eprintln!("topic {name}: {records} records in {:.1} s", begun.elapsed().as_secs_f64());
        self.topics.insert(name, (topic.clone(), records));
        Ok((topic, records))
    }

    /// A broken order of ours is a failure of the run; a peer's is in the table.
    fn judge(&self) -> Result<(), Box<dyn Error>> {
        let ours = self.results.rows.iter().filter(|row| !row.peer.is_foreign());
        for row in ours {
            if row.runs.iter().any(|run| run.violations > 0) {
                return Err(format!("{} broke the order of a key", row.title).into());
            }
            if let Some(failure) = row.failures.first() {
                return Err(format!("{}: {failure}", row.title).into());
            }
        }
        Ok(())
    }
}

fn row(trial: &Trial) -> Row {
    Row {
        peer: trial.contender.peer,
        setting: trial.contender.setting.to_owned(),
        title: trial.contender.title(),
        concurrency: trial.contender.concurrency,
        shape: trial.shape,
        handler_ms: trial.handler.as_millis() as u64,
        aim: trial.aim,
        runs: Vec::new(),
        failures: Vec::new(),
    }
}

fn say(round: u32, trial: &Trial, measured: &Result<Measured, String>) {
    let what = format!(
        "[{}] {}, {} ms, {}",
        round + 1,
        trial.shape,
        trial.handler.as_millis(),
        trial.contender.title()
    );
    match measured {
        Ok(run) => println!(
            "{what}: {} records/s, {:.2} µs CPU a record, {:.0} MB, {} out of order{}",
            report::grouped(run.rate),
            run.cpu_microseconds_per_record,
            run.peak_megabytes,
            run.violations,
            run.latency_ms.map_or(String::new(), |[p50, p99, _]| format!(", latency {p50:.1} / {p99:.1} ms"))
                + &run
                    .control_ms
                    .map_or(String::new(), |[p50, p99, _]| format!(" (bare {p50:.1} / {p99:.1})")),
        ),
        Err(failure) => println!("{what}: {failure}"),
    }
}

fn write(results: &Results, dir: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(dir.join("results.json"), serde_json::to_vec_pretty(results)?)?;
    fs::write(dir.join("results.md"), report::markdown(results))?;
    plot::draw(results, &dir.join("rates.svg"))?;
    Ok(())
}
