//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::moves::Mover;
use crate::peers::PeerName;
use crate::plan::Shape;

/// Which trials run when nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// A look whether everything works: two seconds each, one topic, no foreign tool chain.
    Smoke,
    /// Every contender and handler time on one topic, once.
    Plain,
    /// For publishing: four topics, three repeats, latencies.
    Long,
}

/// Our worker and its peers on the same broker, handlers and records. Prints a table; writes JSON, Markdown
/// and SVG.
#[derive(Debug, Parser)]
#[command(name = "keyweir-bench", version, after_help = EXAMPLES)]
pub struct Args {
    /// How much is measured.
    #[arg(long, value_enum, default_value = "plain")]
    pub size: Size,
    /// Only these contenders, by name.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub peers: Vec<PeerName>,
    /// Only these handler times, in milliseconds.
    #[arg(long, value_delimiter = ',')]
    pub handlers: Vec<u64>,
    /// Only these topics: partitions and keys, as 8-uniform or 1-zipf.
    #[arg(long, value_delimiter = ',')]
    pub topics: Vec<Shape>,
    /// How often each trial is repeated.
    #[arg(long)]
    pub repeat: Option<u32>,
    /// How long each trial is measured, from its first record.
    #[arg(long, global = true)]
    pub seconds: Option<u64>,
    /// How many records each topic holds.
    #[arg(long)]
    pub records: Option<u64>,
    /// Also measure latency at a steady rate.
    #[arg(long)]
    pub latency: bool,
    /// A broker that is already running, instead of one of our own.
    #[arg(long)]
    pub kafka: Option<String>,
    /// Where results are written.
    #[arg(long, default_value = "target/bench", global = true)]
    pub out: PathBuf,
    /// What to do instead of measuring.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Other things than measuring.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one contender that is written in Rust; started by a measuring run.
    #[command(hide = true)]
    Child {
        /// Which.
        contender: String,
        /// `name=value` settings.
        words: Vec<String>,
    },
    /// What joins, leaves, kills and freezes of members cost, ours beside others'.
    Moves {
        /// Only these.
        #[arg(long, value_enum, value_delimiter = ',')]
        movers: Vec<Mover>,
        /// How often each goes through all changes; the worst counts.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// What more workers than partitions are worth where keys are routed: one partition, a handler of 10 ms, 64 at once a
    /// worker.
    Routing {
        /// With so many workers, one number after the other.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4])]
        workers: Vec<u32>,
    },
    /// Writes table and plot again from a file of results.
    Report {
        /// The JSON file.
        results: PathBuf,
    },
}

const EXAMPLES: &str = "Examples:
  keyweir-bench --size smoke
  keyweir-bench --peers ours,bare --handlers 0 --records 25000000 --repeat 3
  keyweir-bench --size long --out target/bench
  keyweir-bench moves --movers ours,group --rounds 1
  keyweir-bench routing --workers 1,4 --seconds 20
  keyweir-bench report target/bench/results.json";
