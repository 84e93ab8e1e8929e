//! Structured logs whose level changes while the process runs.

use std::io::IsTerminal;

use keyweir_contract::worker_config::LogLevel;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that say much: never below WARN unless asked for by name.
const QUIET: &str =
    "hyper=warn,reqwest=warn,h2=warn,tower=warn,rustls=warn,fjall=warn,lsm_tree=warn,librdkafka=warn";

/// Changes the level of a running process.
#[derive(Clone)]
pub struct LogControl {
    change: reload::Handle<EnvFilter, tracing_subscriber::Registry>,
    /// `RUST_LOG` was given: it wins over manifests.
    fixed: bool,
}

impl LogControl {
    /// Logs from this level on. Does nothing where `RUST_LOG` was given.
    pub fn set(&self, level: LogLevel) {
        if !self.fixed {
            // It fails only when the subscriber is gone, and then nobody logs any more.
            let _ = self.change.reload(filter(level));
        }
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    EnvFilter::new(format!("{level},{QUIET}"))
}

/// Begins to log to standard error: readable on a terminal, JSON lines otherwise.
pub fn init(level: LogLevel) -> LogControl {
    init_to(level, std::io::stderr)
}

/// The same, where something else is shown on that terminal: `writer` writes to standard error beside it.
pub fn init_to<W>(level: LogLevel, writer: W) -> LogControl
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let given = EnvFilter::try_from_default_env();
    let fixed = given.is_ok();
    let (filter, change) = reload::Layer::new(given.unwrap_or_else(|_| filter(level)));
    let registry = tracing_subscriber::registry().with(filter);
    // A log that can't be written (a full disk, a reader that is gone) is nothing to panic about, which is what saying
    // so on standard error would come to.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    // A second call, in a test, keeps the first subscriber.
    let _ = if std::io::stderr().is_terminal() {
        registry.with(layer.with_target(false)).try_init()
    } else {
        registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init()
    };
    LogControl { change, fixed }
}
