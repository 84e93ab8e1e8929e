//! Logs: one line each on standard output, structured, filtered by level.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Text,
}

/// A level, or a list such as `info,kube=warn`. A misspelt level would be read as a target, and all else be silent.
pub fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    match text.split(',').find(|part| !is_level(part.rsplit('=').next().unwrap_or_default())) {
        None => Ok(text.to_owned()),
        Some(part) => {
            Err(format!("{part:?} has no level: want one of {}, or TARGET=LEVEL", LEVELS.join(", ")))
        }
    }
}

/// Begins to log from what [`filter`] has let pass.
pub fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::new(filter);
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.init(),
    }
}

/// An error with all that caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_misspelt_level_is_no_filter() {
        for right in ["info", "WARN", "info,kube=warn,h2::client=off"] {
            assert_eq!(filter(right).as_deref(), Ok(right));
        }
        for wrong in ["loud", "", "info,kube", "kube=wran"] {
            assert!(filter(wrong).is_err_and(|text| text.contains("want one of trace, debug")), "{wrong}");
        }
    }
}
