//! What is measured: contenders, topics, handler times, and in which order.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args::{Args, Size};
use crate::dataset::BEHIND;
use crate::peers::{Contender, PeerName, contenders};

/// How often each key comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// All alike.
    Uniform,
    /// The n-th key in proportion to 1/n: a few are hot.
    Zipf,
}

/// A topic: how many partitions, which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// How many partitions.
    pub partitions: u32,
    /// How often each key comes.
    pub keys: Keys,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match self.keys {
            Keys::Uniform => "uniform",
            Keys::Zipf => "zipf",
        };
        write!(f, "{}-{keys}", self.partitions)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let wrong = || format!("{text} is not a topic: say 8-uniform or 1-zipf");
        let (partitions, keys) = text.split_once('-').ok_or_else(wrong)?;
        let keys = match keys {
            "uniform" => Keys::Uniform,
            "zipf" => Keys::Zipf,
            _ => return Err(wrong()),
        };
        Ok(Shape { partitions: partitions.parse().map_err(|_| wrong())?, keys })
    }
}

/// What a trial is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aim {
    /// As many records as it can from a full topic.
    Rate,
    /// The time from producing to handling at a steady rate.
    Latency,
}

/// One measurement, repeated.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Who.
    pub contender: Contender,
    /// On what.
    pub shape: Shape,
    /// With how slow a handler.
    pub handler: Duration,
    /// For what.
    pub aim: Aim,
}

/// Everything that a run measures.
#[derive(Debug)]
pub struct Plan {
    /// The trials, in order.
    pub trials: Vec<Trial>,
    /// How often all of them are repeated, one round after the other.
    pub repeat: u32,
    /// How long each is measured.
    pub window: Duration,
    /// How many records each topic holds.
    pub records: u64,
    /// How far the steady producer may be behind at the end. A look whether everything works measures nothing.
    pub behind: Duration,
}

const UNIFORM_8: Shape = Shape { partitions: 8, keys: Keys::Uniform };
const LATENCY_HANDLER: Duration = Duration::from_millis(10);

impl Plan {
    /// The plan that the command line asks for.
    #[must_use]
    pub fn of(args: &Args) -> Plan {
        let smoke = args.size == Size::Smoke;
        let long = args.size == Size::Long;
        let shapes = match (&args.topics[..], long) {
            ([], false) => vec![UNIFORM_8],
            ([], true) => {
                ["8-uniform", "8-zipf", "1-uniform", "1-zipf"].iter().flat_map(|name| name.parse()).collect()
            }
            (named, _) => named.to_vec(),
        };
        let handlers = match (&args.handlers[..], smoke) {
            ([], true) => vec![0, 10],
            ([], false) => vec![0, 1, 10, 100],
            (named, _) => named.to_vec(),
        };
        let peers = match (&args.peers[..], smoke) {
            ([], true) => vec![PeerName::Ours, PeerName::Bare],
            ([], false) => PeerName::ALL.to_vec(),
            (named, _) => named.to_vec(),
        };
        let mut trials = Vec::new();
        for shape in &shapes {
            for handler in handlers.iter().map(|milliseconds| Duration::from_millis(*milliseconds)) {
                let fitting = contenders(&peers).filter(|contender| contender.takes_part(handler, Aim::Rate));
                trials.extend(fitting.map(|contender| Trial {
                    contender,
                    shape: *shape,
                    handler,
                    aim: Aim::Rate,
                }));
            }
        }
        if args.latency || long {
            let handler = LATENCY_HANDLER;
            let fitting = contenders(&peers).filter(|contender| contender.takes_part(handler, Aim::Latency));
            trials.extend(fitting.map(|contender| Trial {
                contender,
                shape: UNIFORM_8,
                handler,
                aim: Aim::Latency,
            }));
        }
        Plan {
            trials,
            repeat: args.repeat.unwrap_or(if long { 3 } else { 1 }),
            window: Duration::from_secs(args.seconds.unwrap_or(if smoke { 2 } else { 10 })),
            records: args.records.unwrap_or(if smoke { 200_000 } else { 25_000_000 }),
            behind: if smoke { Duration::MAX } else { BEHIND },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(words: &[&str]) -> Plan {
        Plan::of(&Args::parse_from([&["keyweir-bench"], words].concat()))
    }

    #[test]
    fn topics_are_read_and_written_alike() {
        let shape: Shape = "1-zipf".parse().unwrap();
        assert_eq!((shape.partitions, shape.keys, shape.to_string().as_str()), (1, Keys::Zipf, "1-zipf"));
        assert!("8".parse::<Shape>().is_err() && "x-zipf".parse::<Shape>().is_err());
    }

    #[test]
    fn the_long_plan_covers_every_topic_handler_and_peer() {
        let long = plan(&["--size", "long"]);
        for shape in ["8-uniform", "8-zipf", "1-uniform", "1-zipf"] {
            for peer in PeerName::ALL {
                let there = |trial: &&Trial| trial.shape.to_string() == shape && trial.contender.peer == peer;
                let handlers: Vec<u128> =
                    long.trials.iter().filter(there).map(|trial| trial.handler.as_millis()).collect();
                let wanted: &[u128] = if peer == PeerName::Bare { &[0] } else { &[0, 1, 10, 100] };
                assert!(
                    wanted.iter().all(|handler| handlers.contains(handler)),
                    "{shape} {peer:?}: {handlers:?}"
                );
            }
        }
        assert!(long.trials.iter().any(|trial| trial.aim == Aim::Latency));
    }

    #[test]
    fn what_is_named_is_all_that_runs() {
        let named = plan(&["--peers", "bare", "--topics", "1-zipf", "--seconds", "3"]);
        assert!(named.trials.iter().all(|trial| trial.contender.peer == PeerName::Bare));
        assert_eq!(named.window, Duration::from_secs(3));
        assert!(plan(&["--size", "smoke"]).trials.iter().all(|trial| !trial.contender.peer.is_foreign()));
    }
}
