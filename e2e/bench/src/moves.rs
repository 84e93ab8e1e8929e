//! What membership changes cost, ours beside others' on one broker: 1,000 records a second over 8 partitions, 800 keys,
//! a handler of 10 ms, three members, the same changes of each in turn.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use keyweir_e2e::broker::{Broker, BrokerOptions, Strength};
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{
    CostTable, Crew, Fleet, FleetError, FleetOptions, Load, Sent, Timeline, Trial, unix_millis,
};
use keyweir_e2e::kafka::Kafka;
use keyweir_e2e::process::Process;
use keyweir_e2e::scratch::Scratch;
use keyweir_e2e::wait;
use nix::sys::signal::Signal;

use crate::child::Member;
use crate::peers::{self, gkes};

const PARTITIONS: i32 = 8;
const RATE: u32 = 1000;
const KEYS: u32 = 800;
const HANDLER: Duration = Duration::from_millis(10);

/// A partition whose last record ended that long ago stands still; a member too.
const STILL: u64 = 500;

/// How much of the end of a log is looked at.
const LOOK: u64 = 64 * 1024;

/// When at the latest the others notice that a member is gone: sessions last 6 s, our leases 5 s.
const NOTICED: Duration = Duration::from_secs(8);

/// How long any change may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who goes through the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mover {
    /// Our workers, `memberTTL: 5s`.
    Ours,
    /// A consumer group of rdkafka, cooperative-sticky, session of 6 s.
    Group,
    /// Go Kafka Event Source 1.0.6, incremental balancing, session of 6 s.
    Gkes,
}

impl Mover {
    /// All of them.
    pub const ALL: [Mover; 3] = [Mover::Ours, Mover::Group, Mover::Gkes];

    fn title(self) -> &'static str {
        match self {
            Mover::Ours => "keyweir",
            Mover::Group => "rdkafka, cooperative-sticky",
            Mover::Gkes => "GKES 1.0.6",
        }
    }
}

/// Puts each through the changes and prints a table of each.
///
/// # Errors
/// When a part can't be had or a crew does not settle.
pub fn run(movers: &[Mover], rounds: u32) -> Result<(), Box<dyn Error>> {
    let movers = if movers.is_empty() { &Mover::ALL } else { movers };
    let broker = Broker::start_with(BrokerOptions::of(Strength::Full))?;
    for mover in movers {
        let moved = match mover {
            Mover::Ours => ours(&broker.kafka(), rounds),
            Mover::Group | Mover::Gkes => theirs(*mover, &broker.kafka(), rounds),
        };
        match moved {
            Ok(moved) => println!("{}\n\n{moved}", mover.title()),
            // What one can't do is a finding; the others are measured all the same.
            Err(error) => println!("{}: {}\n", mover.title(), keyweir_engine::error_chain(error.as_ref())),
        }
    }
    Ok(())
}

fn ours(kafka: &Kafka, rounds: u32) -> Result<String, Box<dyn Error>> {
    let etcd = Etcd::start()?;
    let options = FleetOptions { partitions: PARTITIONS, member_ttl: "5s", ..FleetOptions::default() };
    let fleet = Fleet::make(kafka.clone(), &etcd.endpoint(), &options)?;
    let topic = fleet.topic().to_owned();
    go_through(fleet, kafka, &topic, rounds)
}

fn theirs(mover: Mover, kafka: &Kafka, rounds: u32) -> Result<String, Box<dyn Error>> {
    let topic = kafka.unique_topic("moves", PARTITIONS)?;
    let dir = Scratch::make("moves")?;
    let member = Member {
        bootstrap: kafka.bootstrap().to_owned(),
        topic: topic.clone(),
        group: topic.clone(),
        partitions: PARTITIONS.unsigned_abs(),
        handler: HANDLER,
        log: PathBuf::new(),
    };
    let program = match mover {
        Mover::Gkes => gkes::program()?,
        Mover::Ours | Mover::Group => std::env::current_exe()?,
    };
    let peers = Peers { dir, mover, program, member, processes: BTreeMap::new(), started: 0 };
    go_through(peers, kafka, &topic, rounds)
}

fn go_through<C: Crew>(crew: C, kafka: &Kafka, topic: &str, rounds: u32) -> Result<String, Box<dyn Error>> {
    let mut trial = Trial::of(crew);
    let load = Load::start(kafka, topic, PARTITIONS, RATE, KEYS)?;
    for _ in 0..3 {
        trial.crew.start()?;
    }
    trial.crew.settle()?;
    std::thread::sleep(Duration::from_secs(3));
    trial.steady()?;
    for _ in 0..rounds {
        trial.planned()?;
        trial.unplanned(NOTICED)?;
    }
    let sent = load.finish()?;
    let timeline = until_done(&trial, &sent)?;
    Ok(format!(
        "{}\n{} sent, {} never done, {} times done again\n",
        CostTable(&trial.costs(&timeline, &sent)),
        sent.len(),
        timeline.never_done(&sent),
        timeline.done_again()
    ))
}

/// Waits until all is done, or nothing is any more.
fn until_done<C: Crew>(trial: &Trial<C>, sent: &[Sent]) -> Result<Timeline, Box<dyn Error>> {
    let mut left = usize::MAX;
    loop {
        let timeline = trial.timeline()?;
        let now = timeline.never_done(sent);
        if now == 0 || now == left {
            return Ok(timeline);
        }
        left = now;
        std::thread::sleep(Duration::from_secs(10));
    }
}

/// Processes of a peer.
#[derive(Debug)]
struct Peers {
    dir: Scratch,
    mover: Mover,
    program: PathBuf,
    member: Member,
    processes: BTreeMap<usize, Process>,
    started: usize,
}

impl Peers {
    fn log(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("events-{number}.jsonl"))
    }

    fn signal(&mut self, number: usize, signal: Signal) -> Result<(), FleetError> {
        let process = self.processes.get_mut(&number);
        process.map_or(Ok(()), |process| process.signal(signal)).map_err(FleetError::Process)
    }

    /// What stands still; empty = all partitions and all members work.
    fn still(&self) -> String {
        let since = unix_millis().saturating_sub(STILL);
        let mut partitions = vec![0; PARTITIONS.unsigned_abs() as usize];
        let mut still = String::new();
        for number in 0..self.started {
            let lasts = lasts(&self.log(number));
            let newest = lasts.values().max().copied().unwrap_or_default();
            if self.processes.contains_key(&number) && newest < since {
                still += &format!("member {number} ");
            }
            for (partition, at) in lasts {
                if let Some(last) = partitions.get_mut(partition) {
                    *last = at.max(*last);
                }
            }
        }
        for (partition, last) in partitions.into_iter().enumerate() {
            if last < since {
                still += &format!("partition {partition} ");
            }
        }
        still
    }
}

/// When the last record of each partition ended, by the end of a log.
fn lasts(log: &Path) -> BTreeMap<usize, u64> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOOK)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    let mut lasts = BTreeMap::new();
    // One that has not been made yet says nothing.
    for line in read().unwrap_or_default().lines() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let (Some(partition), Some(at)) = (line["partition"].as_u64(), line["wallMs"].as_u64()) {
            lasts.insert(partition as usize, at);
        }
    }
    lasts
}

impl Crew for Peers {
    fn start(&mut self) -> Result<usize, FleetError> {
        let number = self.started;
        let log = self.log(number);
        File::create(&log).map_err(FleetError::Prepare)?;
        let member = Member { log, ..self.member.clone() };
        let mut command = Command::new(&self.program);
        if self.mover == Mover::Group {
            command.args(["child", peers::GROUP]);
        }
        command.args(member.words());
        let output = self.dir.path().join(format!("member-{number}.log"));
        let process = Process::start(&format!("member {number}"), command, &output);
        self.processes.insert(number, process.map_err(FleetError::Process)?);
        self.started += 1;
        Ok(number)
    }

    fn leave(&mut self, number: usize) -> Result<(), FleetError> {
        let Some(mut process) = self.processes.remove(&number) else { return Ok(()) };
        let status = process.stop(PATIENCE).map_err(FleetError::Process)?;
        if status.success() {
            return Ok(());
        }
        Err(FleetError::Unclean { worker: number, status, log: process.log_tail(20) })
    }

    fn kill9(&mut self, number: usize) -> Result<(), FleetError> {
        let process = self.processes.remove(&number);
        process.map_or(Ok(()), |mut process| process.kill().map(drop)).map_err(FleetError::Process)
    }

    fn freeze(&mut self, number: usize) -> Result<(), FleetError> {
        self.signal(number, Signal::SIGSTOP)
    }

    fn thaw(&mut self, number: usize) -> Result<(), FleetError> {
        self.signal(number, Signal::SIGCONT)
    }

    fn numbers(&self) -> Vec<usize> {
        self.processes.keys().copied().collect()
    }

    fn settle(&mut self) -> Result<(), FleetError> {
        let mut state = String::new();
        let mut alive = Ok(());
        let settled = wait::until("work in every partition and member", PATIENCE, || {
            alive = self.processes.values_mut().try_for_each(Process::must_run);
            state = self.still();
            alive.is_err() || state.is_empty()
        });
        alive.map_err(FleetError::Process)?;
        settled.map_err(|source| FleetError::Late { source, state })
    }

    fn logs(&self) -> Vec<PathBuf> {
        (0..self.started).map(|number| self.log(number)).collect()
    }
}
