//! What may be typed, with its help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::run::Feed;
use crate::send::Pair;

/// Records in, handled in order per key, keys in parallel.
#[derive(Debug, Parser)]
#[command(name = "keyweir", version, propagate_version = true, after_help = FIRST_STEPS)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) subcommand: Subcommand,
}

const FIRST_STEPS: &str = "\
First steps:
  keyweir check -f orders.yaml                      all that is wrong with a manifest
  keyweir run -f orders.yaml --embedded             run it on this machine, without a broker
  keyweir send orders --file orders.jsonl           records for it, from another terminal
  keyweir parked list                               what it has set aside";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Run manifests on this machine, with a real broker or the embedded log
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Write records to a topic, of the embedded log or of Kafka
    #[command(after_help = SEND_EXAMPLES)]
    Send(SendArgs),
    /// See and settle the records that a running process has set aside
    #[command(after_help = PARKED_EXAMPLES)]
    Parked(ParkedArgs),
    /// Who works on an object: its live members, as etcd says it
    #[command(after_help = MEMBERS_EXAMPLES)]
    Members(MembersArgs),
    /// Who owns what, since when, how far behind and how far complete, as etcd says it
    #[command(after_help = SHARDS_EXAMPLES)]
    Shards(RosterArgs),
    /// Prove from event logs that nothing was lost, reordered or handled by two at once
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Say all that is wrong with manifests, at once
    #[command(after_help = CHECK_EXAMPLES)]
    Check(FilesArgs),
    /// Print the WorkerConfig that a manifest becomes
    #[command(after_help = RENDER_EXAMPLES)]
    Render(FilesArgs),
    /// Print the CustomResourceDefinitions
    #[command(after_help = CRDS_EXAMPLES)]
    Crds,
    /// Print a completion script
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion(CompletionArgs),
}

const RUN_EXAMPLES: &str = "\
Examples:
  keyweir run -f orders.yaml
  keyweir run -f orders.yaml --embedded --feed orders=orders.jsonl --until-idle 2s
  tail -f app.log | keyweir run -f log.yaml --embedded --feed log=- --feed-format lines
  keyweir run -f orders.yaml -f secrets.yaml --handler-url http://127.0.0.1:9000/

The first Ctrl-C or SIGTERM finishes what is executing, the second cuts it off. A changed manifest
is taken up at once; what is wrong with it is said, and the old one goes on.

Exit codes:
  0    all went well
  1    it could not start or not go on, or work was cut off
  2    a manifest or an argument is wrong
  3    with --until-idle: records were parked or dead-lettered";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Manifests (YAML, several documents in a file are fine); Secret and ConfigMap documents are used too
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Replace Kafka by the embedded log, with the same topics
    #[arg(long)]
    pub(crate) embedded: bool,
    /// The data directory: embedded log, checkpoints, parked records
    #[arg(long, value_name = "DIR", default_value = "./.keyweir")]
    pub(crate) data: PathBuf,
    /// End when nothing was left to do for that long; 2.5 s at least
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) until_idle: Option<Duration>,
    /// With --until-idle: end with 1 when what is left could not be done for that long (a broker or handler is down)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m", requires = "until_idle")]
    pub(crate) patience: Duration,
    /// Where /readyz, /metrics and the local endpoints listen; port 0 = any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Which one this is, from 0 on, of processes on one manifest with coordination.placement: Static
    #[arg(long, env = "KEYWEIR_ORDINAL", value_name = "N", allow_negative_numbers = true)]
    pub(crate) ordinal: Option<u32>,
    /// Directory with <name>/<key> for each Secret, as a pod mounts them
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets: Option<PathBuf>,
    /// Ask http and container handlers there, wherever the manifest says they are
    #[arg(long, value_name = "URL")]
    pub(crate) handler_url: Option<String>,
    /// Write every step of every record there, for `keyweir verify`; with several objects, one file each
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// Append a file's records (- = standard input) to a topic of the embedded log
    #[arg(long, value_name = "TOPIC=FILE")]
    pub(crate) feed: Vec<Feed>,
    /// What stands in the fed lines
    #[arg(long, value_enum, default_value_t = Format::Records)]
    pub(crate) feed_format: Format,
    /// How the work is shown on standard output
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
}

/// How the work is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, JSON lines elsewhere
    Auto,
    /// A line for each object, drawn over
    Bars,
    /// A JSON line for each object and second
    Json,
    /// Not at all
    None,
}

/// What stands in lines of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON: {"key": "k", "value": <any JSON>, "headers": {"name": "text"}, "partition": 0}; all but value optional
    Records,
    /// The line itself is the value
    Lines,
}

const SEND_EXAMPLES: &str = "\
Examples:
  keyweir send orders --file orders.jsonl
  echo '{\"key\": \"anna\", \"value\": {\"total\": 5}}' | keyweir send orders
  keyweir send log --format lines --key-from /host --file app.jsonl --rate 500
  keyweir send orders --file o.jsonl --bootstrap-servers kafka:9092 --property compression.type=zstd

While `keyweir run` has the data directory open, records go through it.";

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The topic; of the embedded log it is made if it is missing
    pub(crate) topic: String,
    /// Where records are read, one a line (- = standard input)
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// What stands in the lines
    #[arg(long, value_enum, default_value_t = Format::Records)]
    pub(crate) format: Format,
    /// Take keys from a field of the JSON value (customer, or a pointer like /customer/id) or from header:NAME; a record
    /// without it is an error, one with null there has no key
    #[arg(long, value_name = "FIELD", value_parser = crate::records::key_source)]
    pub(crate) key_from: Option<crate::records::KeySource>,
    /// Records a second; absent = as fast as they can
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Write to this Kafka cluster
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with = "data")]
    pub(crate) bootstrap_servers: Vec<String>,
    /// A setting of the Kafka client
    #[arg(long, value_name = "NAME=VALUE", requires = "bootstrap_servers")]
    pub(crate) property: Vec<Pair>,
    /// Write to the embedded log in this data directory
    #[arg(long, value_name = "DIR", default_value = "./.keyweir")]
    pub(crate) data: PathBuf,
    /// Append the place of every record to this file, for `keyweir verify --expect`
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
}

const PARKED_EXAMPLES: &str = "\
Examples:
  keyweir parked list
  keyweir parked show orders/3@1287
  keyweir parked release orders/3@1287     handle it again
  keyweir parked skip orders/3@1287        forget it";

#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    pub(crate) act: ParkedAct,
    /// Data directory of the running process
    #[arg(long, value_name = "DIR", default_value = "./.keyweir", global = true)]
    pub(crate) data: PathBuf,
    /// Where the running process listens, instead of its data directory
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// Whose records; needed where the process runs several objects
    #[arg(long, value_name = "NAMESPACE/NAME", global = true)]
    pub(crate) object: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ParkedAct {
    /// What is parked, and why
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// One record with its headers and value
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// TOPIC/PARTITION@OFFSET
        id: String,
    },
    /// Handle records again: out of their order, or with all that stand behind them, in order
    #[command(after_help = RELEASE_EXAMPLES)]
    Release {
        /// TOPIC/PARTITION@OFFSET
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Forget records; what stood behind them is handled again
    #[command(after_help = SKIP_EXAMPLES)]
    Skip {
        /// TOPIC/PARTITION@OFFSET
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

const LIST_EXAMPLES: &str = "\
Examples:
  keyweir parked list
  keyweir parked list --url http://127.0.0.1:8080 --object default/orders --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  keyweir parked show orders/3@1287
  keyweir parked show orders/3@1287 --json | jq .reason";

const RELEASE_EXAMPLES: &str = "\
Examples:
  keyweir parked release orders/3@1287
  keyweir parked release orders/3@1287 orders/0@96 --data ./.keyweir

Where its key went on without it, it comes out of its order; where the key waits, all that stand
behind it follow in order.";

const SKIP_EXAMPLES: &str = "\
Examples:
  keyweir parked skip orders/3@1287
  keyweir parked skip orders/3@1287 orders/0@96 --object default/orders

What stood behind it is handled again, in order.";

const MEMBERS_EXAMPLES: &str = "\
Examples:
  keyweir members -f orders.yaml
  keyweir members -f orders.yaml --key customer-7        who executes its records, with routing: Key
  keyweir members -f orders.yaml --json | jq .zone
  keyweir members -f orders.yaml --secrets ./secrets     where etcd wants certificates or a login";

const SHARDS_EXAMPLES: &str = "\
Examples:
  keyweir shards -f orders.yaml
  keyweir shards --endpoints http://etcd:2379 --object shop/orders          without a manifest
  keyweir shards -f orders.yaml --json | jq 'select(.owner == null)'
  keyweir shards -f orders.yaml --secrets ./secrets      where etcd or Kafka want a login

Columns:
  LAG        records behind the durable frontier
  IN-FLIGHT  what is under way, as its owner says, where it can be reached from here
  FRONTIER   all below this offset is complete
  AHEAD      what is complete above it
  FAILED     what waits for its next attempt
  ELSEWHERE  what still executes at an earlier owner
  FENCE      the number of this ownership: what comes under an older one is refused";

#[derive(Debug, Args)]
pub(crate) struct RosterArgs {
    /// Manifests
    #[arg(short, long = "file", value_name = "FILE", required_unless_present = "endpoints")]
    pub(crate) files: Vec<PathBuf>,
    /// Directory with <name>/<key> for each Secret, as a pod mounts them
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets: Option<PathBuf>,
    /// Servers of the etcd where members meet, instead of a manifest; the lag is unknown then
    #[arg(long, value_name = "URL", value_delimiter = ',', requires = "object", conflicts_with = "files")]
    pub(crate) endpoints: Vec<String>,
    /// Which object, with --endpoints
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "endpoints", value_parser = namespaced)]
    pub(crate) object: Option<(String, String)>,
    /// What all keys begin with, with --endpoints
    #[arg(long, value_name = "PATH", default_value = "/keyweir")]
    pub(crate) prefix: String,
    /// Print a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(crate) roster: RosterArgs,
    /// Only the one that executes the records of this key, with `routing: Key`
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  keyweir run -f orders.yaml --event-log events.jsonl
  keyweir verify events.jsonl
  keyweir send orders --file orders.jsonl --log sent.jsonl
  keyweir verify events-a.jsonl events-b.jsonl --expect sent.jsonl

Words:
  duplicates      handled again under a newer fence, as at-least-once allows: counted, not blamed
  set aside       dead-lettered, parked or skipped
  gone            removed by retention or compaction before it could be handled
  unfinished      read, and not done when the logs end: the next run handles it
  cancelled late  by a member that had lost its shard and had not yet heard of it
  tenures         how often a shard got an owner
  torn lines      cut off by a kill

Exit codes:
  0    all promises were kept
  1    a log can't be read, or there is nothing to judge
  4    promises were broken";

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Event logs of all members
    #[arg(value_name = "LOG", required = true)]
    pub(crate) logs: Vec<PathBuf>,
    /// Logs of `keyweir send`: all that stands there must be done
    #[arg(long, value_name = "LOG")]
    pub(crate) expect: Vec<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  keyweir check -f orders.yaml
  keyweir check -f orders.yaml -f secrets.yaml --embedded      as `keyweir run` would take them

Every mistake is said with its line: of the YAML, of the schema, of the rules between fields. Ends
with 2 when there is one. - is standard input, as in: kustomize build | keyweir check -f -";

const RENDER_EXAMPLES: &str = "\
Examples:
  keyweir render -f orders.yaml
  keyweir render -f orders.yaml --embedded | jq .live
  keyweir render -f native.yaml > worker.json           for --config of a worker of your own";

const CRDS_EXAMPLES: &str = "\
Examples:
  keyweir crds | kubectl apply --server-side -f -
  keyweir crds > crds.yaml";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  source <(keyweir completion bash)
  keyweir completion zsh > ~/.zfunc/_keyweir
  keyweir completion fish > ~/.config/fish/completions/keyweir.fish";

#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Manifests
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// As if run with --embedded
    #[arg(long)]
    pub(crate) embedded: bool,
    /// As if run with that --handler-url
    #[arg(long, value_name = "URL")]
    pub(crate) handler_url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// For which shell
    pub(crate) shell: clap_complete::Shell,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is no address: want 127.0.0.1:8080, or 0.0.0.0:8080 to be reached from elsewhere")
    })
}

fn namespaced(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) = parts.ok_or_else(|| format!("{text:?} is no object: want shop/orders"))?;
    Ok((namespace.to_owned(), name.to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    keyweir_contract::duration::parse(text)
        .map_err(|_| format!("{text:?} is no duration: want 500ms, 2s or 1m30s"))
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// The commands without subcommands, with what is typed for them.
    fn leaves(command: &Command, typed: &str, found: &mut Vec<(String, String)>) {
        let mut subcommands = command.get_subcommands().filter(|known| known.get_name() != "help").peekable();
        if subcommands.peek().is_none() {
            found.push((typed.to_owned(), command.clone().render_long_help().to_string()));
        }
        subcommands.for_each(|known| leaves(known, &format!("{typed} {}", known.get_name()), found));
    }

    /// What a line of examples has of our own command, up to a pipe, a file or a remark.
    fn own_words(line: &str) -> Option<Vec<&str>> {
        let own = &line[line.find("keyweir ")?..];
        let end = ["  ", " | ", " > ", ")"].iter().filter_map(|mark| own.find(mark)).min();
        Some(own[..end.unwrap_or(own.len())].split(' ').collect())
    }

    #[test]
    fn every_command_has_examples_in_its_help_and_each_of_them_can_be_typed() {
        let mut found = Vec::new();
        leaves(&Arguments::command(), "keyweir", &mut found);
        assert!(found.len() >= 13, "{found:?}");
        for (typed, help) in found {
            let examples = help.split_once("Examples:\n").map_or("", |(_, examples)| examples);
            let lines = examples.lines().take_while(|line| line.starts_with("  "));
            let words: Vec<_> = lines.filter_map(own_words).collect();
            let is_own = |words: &&Vec<&str>| words.join(" ").starts_with(&typed);
            assert!(words.iter().any(|words| is_own(&words)), "{typed} has no example of itself:\n{help}");
            for words in words {
                let parsed = Arguments::try_parse_from(&words);
                assert!(parsed.is_ok(), "{typed}: {words:?}: {}", parsed.expect_err("it is none"));
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_address_is_numbers() {
        assert!(address("127.0.0.1:0").is_ok());
        assert!(address("localhost:8080").expect_err("a name").contains("want 127.0.0.1:8080"));
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert!(duration("2").is_err());
    }
}
