//! Who handles a record, and how it is asked.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// The code that is called for each record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Handler {
    /// A service somewhere, by CloudEvents over HTTP.
    Http {
        /// Where requests go.
        url: String,
    },
    /// A container beside the worker, by the same protocol over localhost.
    Container {
        /// Where it listens.
        port: u16,
        /// The path of the requests, with its leading slash.
        path: String,
    },
    /// Child processes, by JSON lines on stdin and stdout.
    Exec(ExecHandler),
    /// Something that Keyweir does itself.
    Builtin(Builtin),
    /// A handler registered in a worker binary of the user's own.
    Native {
        /// The name it was registered under.
        name: String,
    },
}

/// Child processes that stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecHandler {
    /// The program: a path, or a name to be found in PATH.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables added to its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Directory it runs in; absent: the worker's own.
    #[serde(default)]
    pub working_directory: Option<std::path::PathBuf>,
    /// How many run; absent: as many as are needed, at most 64.
    #[serde(default)]
    pub processes: Option<u32>,
    /// How many records one process holds at a time.
    #[serde(default = "one")]
    pub records_per_process: u32,
}

fn one() -> u32 {
    1
}

/// Handlers for trying things and for benchmarks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Builtin {
    /// Replies with the record's value, then done.
    Echo,
    /// Done at once.
    Drop,
    /// Done after a while.
    Delay {
        /// How long.
        #[serde(with = "crate::duration")]
        duration: Duration,
    },
    /// Sends what a small expression makes of the record to an output, then done.
    Map {
        /// The expression.
        expression: String,
        /// The output's name.
        output: String,
    },
    /// Fails: for trying retries and what follows them.
    Fail {
        /// The reason given.
        reason: String,
        /// Attempts that fail before one succeeds; absent: all.
        #[serde(default)]
        attempts: Option<u32>,
    },
}

/// How a handler is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerOptions {
    /// How long an attempt may take; absent: as long as it likes.
    #[serde(default, with = "crate::duration::optional")]
    pub timeout: Option<Duration>,
    /// The handler promises a sign of life this often and is stuck after three missed; absent: no promise.
    #[serde(default, with = "crate::duration::optional")]
    pub heartbeat: Option<Duration>,
    /// How large an answer may be.
    pub max_response_bytes: ByteSize,
    /// Records of different keys asked about together; absent: one by one.
    #[serde(default)]
    pub batch: Option<Batch>,
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(300)),
            heartbeat: None,
            max_response_bytes: ByteSize::mebibytes(1),
            batch: None,
        }
    }
}

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// At that many records,
    pub max_records: u32,
    /// or this long after its first.
    #[serde(with = "crate::duration")]
    pub linger: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max_records: 100, linger: Duration::from_millis(5) }
    }
}

/// A handler with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerConfig {
    /// Who is asked.
    pub handler: Handler,
    /// How.
    pub options: HandlerOptions,
}

/// A handler of its own for some records. The first route that takes a record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Its name, in metrics and logs.
    pub name: String,
    /// Takes records of these topics; empty: of any.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Takes records of these types; empty: of any.
    #[serde(default)]
    pub record_types: Vec<String>,
    /// Who handles them.
    pub handler: HandlerConfig,
}

impl Route {
    /// Whether a record of this topic and type is this route's.
    pub fn takes(&self, topic: &str, record_type: Option<&str>) -> bool {
        let topic_fits = self.topics.is_empty() || self.topics.iter().any(|own| own == topic);
        let type_fits = self.record_types.is_empty()
            || record_type.is_some_and(|given| self.record_types.iter().any(|own| own == given));
        topic_fits && type_fits
    }
}

/// A topic that handlers write to by name, at the source's broker or log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The name handlers use.
    pub name: String,
    /// The topic.
    pub topic: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(topics: &[&str], record_types: &[&str]) -> Route {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Route {
            name: "r".to_owned(),
            topics: own(topics),
            record_types: own(record_types),
            handler: HandlerConfig {
                handler: Handler::Builtin(Builtin::Drop),
                options: HandlerOptions::default(),
            },
        }
    }

    #[test]
    fn a_route_takes_what_fits_both_of_its_lists() {
        assert!(route(&[], &[]).takes("orders", None));
        assert!(route(&["orders"], &[]).takes("orders", Some("Order")));
        assert!(!route(&["orders"], &[]).takes("refunds", None));
        assert!(route(&[], &["Refund"]).takes("orders", Some("Refund")));
        assert!(!route(&[], &["Refund"]).takes("orders", None));
        assert!(!route(&["orders"], &["Refund"]).takes("refunds", Some("Refund")));
    }
}
