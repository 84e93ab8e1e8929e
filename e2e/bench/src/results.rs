//! What was measured, as it is kept: JSON that `report` reads again.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::peers::PeerName;
use crate::plan::{Aim, Shape};

/// One measurement.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Records a second over the whole window.
    pub rate: f64,
    /// Records a second over its second half: without the warm-up of a JVM.
    pub second_half_rate: f64,
    /// Records whose handler ended.
    pub records: u64,
    /// The window.
    pub seconds: f64,
    /// Records out of their key's order.
    pub violations: u64,
    /// Most handlers at once.
    pub most_at_once: u64,
    /// What the handler really took, in milliseconds on average.
    pub handler_ms: f64,
    /// Median, 99 % and highest latency in milliseconds, where it was measured.
    pub latency_ms: Option<[f64; 3]>,
    /// The same of a bare loop that read the same records at the same time: what producer, broker and machine take.
    #[serde(default)]
    pub control_ms: Option<[f64; 3]>,
    /// Cores that the contender kept busy.
    pub cores: f64,
    /// Its processor time for each record.
    pub cpu_microseconds_per_record: f64,
    /// Its highest resident memory.
    pub peak_megabytes: f64,
    /// Cores that the broker kept busy.
    pub broker_cores: f64,
    /// Cores that neither of them kept busy, but something else: noise.
    pub other_cores: f64,
}

/// A trial with its measurements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub peer: PeerName,
    /// In which set-up.
    pub setting: String,
    /// What it is called.
    pub title: String,
    /// Records, threads or processes at once.
    pub concurrency: u32,
    /// On which topic.
    pub shape: Shape,
    /// With how slow a handler.
    pub handler_ms: u64,
    /// For what.
    pub aim: Aim,
    /// Each repeat that succeeded.
    pub runs: Vec<Measured>,
    /// Why the others did not.
    pub failures: Vec<String>,
}

/// Everything of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// How many keys the records have.
    pub keys: usize,
    /// How many records each topic held.
    pub records: u64,
    /// Seconds of each window.
    pub window_seconds: f64,
    /// The trials.
    pub rows: Vec<Row>,
}

impl Row {
    /// Median, lowest and highest of something over the repeats.
    #[must_use]
    pub fn spread(&self, of: impl Fn(&Measured) -> f64) -> Option<(f64, f64, f64)> {
        let mut values: Vec<f64> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let (lowest, highest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some((median, lowest, highest))
    }

    /// The median of something over the repeats.
    #[must_use]
    pub fn median(&self, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        self.spread(of).map(|(median, _, _)| median)
    }

    /// The most that order and concurrency allow: what can be at once, divided by what the handler really took.
    /// There is none for a handler that takes no time, nor where a hot key decides.
    #[must_use]
    pub fn ceiling(&self, keys: usize) -> Option<f64> {
        let uniform = self.shape.keys == crate::plan::Keys::Uniform;
        let at_once = f64::from(self.concurrency).min(keys as f64);
        let handler = self.median(|run| run.handler_ms)?;
        (uniform && self.handler_ms > 0 && handler > 0.0 && self.aim == Aim::Rate)
            .then(|| at_once / handler * 1e3)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::Keys;

    /// A row with the given rates.
    pub(crate) fn row(title: &str, handler_ms: u64, rates: &[f64]) -> Row {
        let run = |rate: &f64| Measured { rate: *rate, handler_ms: handler_ms as f64, ..Measured::default() };
        Row {
            peer: PeerName::Bare,
            setting: "default".into(),
            title: title.into(),
            concurrency: 64,
            shape: Shape { partitions: 8, keys: Keys::Uniform },
            handler_ms,
            aim: Aim::Rate,
            runs: rates.iter().map(run).collect(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_median_stands_between_the_extremes() {
        assert_eq!(row("a", 10, &[3.0, 1.0, 2.0]).spread(|run| run.rate), Some((2.0, 1.0, 3.0)));
        assert_eq!(row("a", 10, &[4.0, 1.0]).median(|run| run.rate), Some(2.5));
        assert_eq!(row("a", 10, &[]).spread(|run| run.rate), None);
    }

    #[test]
    fn the_ceiling_is_what_can_be_at_once_divided_by_the_handler() {
        assert_eq!(row("a", 10, &[1.0]).ceiling(1000), Some(6400.0));
        assert_eq!(row("a", 10, &[1.0]).ceiling(32), Some(3200.0));
        assert_eq!(row("a", 0, &[1.0]).ceiling(1000), None);
    }
}
