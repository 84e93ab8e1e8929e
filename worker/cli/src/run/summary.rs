//! What a run came to, in words that a newcomer understands.

use std::time::Duration;

use keyweir_contract::policy::{ExhaustedAction, Ordering};
use keyweir_engine::pump::{Counters, PumpReport};
use serde_json::{Value, json};

use crate::args::RunArgs;
use crate::manifests::{self, Object};
use crate::verify::{self, Findings};

/// What became of each object; `None` = its pump panicked.
pub(super) type Reports = Vec<(String, Option<PumpReport>)>;

/// What a run came to.
pub(super) struct Summary {
    took: Duration,
    parts: Vec<Part>,
}

/// What one object came to.
struct Part {
    name: String,
    total: Counters,
    /// Records that were executing at the end and were cancelled.
    cut_off: usize,
    troubles: Vec<String>,
    /// Why a record failed last.
    last_failure: Option<String>,
    object: Option<Object>,
    proven: Option<Findings>,
}

impl Summary {
    /// Adds up the reports; an object that was restarted has several.
    pub(super) fn new(reports: &Reports, took: Duration, objects: &[Object]) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for (name, report) in reports {
            let place = parts.iter().position(|part| part.name == *name).unwrap_or_else(|| {
                parts.push(Part::new(name, objects));
                parts.len() - 1
            });
            parts[place].add(report.as_ref());
        }
        Self { took, parts }
    }

    /// Whether everything ended as it should.
    pub(super) fn is_clean(&self) -> bool {
        self.parts.iter().all(|part| part.troubles.is_empty())
    }

    /// Records that were parked or dead-lettered.
    pub(super) fn set_aside(&self) -> u64 {
        self.parts.iter().map(|part| part.total.parked + part.total.dead_lettered).sum()
    }

    /// Records that were cut off; the next run handles them.
    pub(super) fn cut_off(&self) -> usize {
        self.parts.iter().map(|part| part.cut_off).sum()
    }

    pub(super) fn as_json(&self) -> Value {
        let seconds = self.took.as_secs_f64();
        let objects = self.parts.iter().map(|part| {
            let total = &part.total;
            json!({
                "object": part.name, "records": total.completed, "retries": total.retries,
                "parked": total.parked, "deadLettered": total.dead_lettered, "skipped": total.skipped,
                "cutOff": part.cut_off,
                "lastFailure": part.last_failure,
                "keys": part.proven.as_ref().map(Findings::keys),
                "orderKept": part.proven.as_ref().map(Findings::order_is_kept),
                "troubles": part.troubles,
            })
        });
        json!({"seconds": (seconds * 10.0).round() / 10.0, "objects": objects.collect::<Vec<_>>()})
    }

    pub(super) fn as_text(&self, args: &RunArgs) -> String {
        let parts: Vec<_> = self.parts.iter().map(|part| part.as_text(self.took, args)).collect();
        parts.join("\n")
    }
}

impl Part {
    fn new(name: &str, objects: &[Object]) -> Self {
        let object = objects.iter().find(|object| object.name() == name).cloned();
        let log = object.as_ref().and_then(|object| object.config.fixed.process.event_log.clone());
        let proven = log.and_then(|log| verify::look(&[log], &[]).ok());
        Self {
            name: name.to_owned(),
            total: Counters::default(),
            cut_off: 0,
            troubles: Vec::new(),
            last_failure: None,
            object,
            proven,
        }
    }

    fn add(&mut self, report: Option<&PumpReport>) {
        let Some(report) = report else {
            self.troubles.push("it has panicked: what it was doing will be done again".to_owned());
            return;
        };
        let (total, more) = (&mut self.total, &report.last.counters);
        total.completed += more.completed;
        total.retries += more.retries;
        total.parked += more.parked;
        total.dead_lettered += more.dead_lettered;
        total.skipped += more.skipped;
        total.outputs += more.outputs;
        self.cut_off += report.cancelled;
        if let Some(last) = &report.last.last_failure {
            self.last_failure = Some(last.failure.to_string());
        }
        if let Some(failure) = &report.stopped {
            self.troubles.push(format!("stopped by its policy: {failure}"));
        }
        if !report.unsaved.is_empty() {
            let shards: Vec<_> = report.unsaved.iter().map(ToString::to_string).collect();
            self.troubles.push(format!("the last checkpoint was not saved for {}", shards.join(", ")));
        }
    }

    fn as_text(&self, took: Duration, args: &RunArgs) -> String {
        let total = &self.total;
        let mut text = format!("{}\n", self.name);
        let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<14}{value}\n"));
        row(
            "records",
            format!("{} in {:.1} s, {} a second", total.completed, took.as_secs_f64(), self.rate(took)),
        );
        if let Some(proven) = &self.proven {
            row("keys", proven.keys().to_string());
        }
        row("order", self.order());
        row("retries", total.retries.to_string());
        if let Some(failure) = &self.last_failure {
            row("last failure", failure.clone());
        }
        row("parked", aside(total.parked, format!("keyweir parked list --data {}", args.data.display())));
        row("dead letters", aside(total.dead_lettered, format!("in topic {}", self.dead_letter_topic())));
        if total.skipped > 0 {
            row("skipped", total.skipped.to_string());
        }
        if self.cut_off > 0 {
            row("cut off", format!("{}: the next run handles them", self.cut_off));
        }
        if let Some(object) = &self.object {
            row("handled by", manifests::handler_of(&object.config));
        }
        row("results", self.results(args));
        for trouble in &self.troubles {
            row("TROUBLE", trouble.clone());
        }
        text
    }

    /// Records a second, with a digit behind the point where it is most of the number.
    fn rate(&self, took: Duration) -> String {
        let rate = self.total.completed as f64 / took.as_secs_f64().max(0.001);
        if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
    }

    fn order(&self) -> String {
        let ordering = self.object.as_ref().map(|object| object.config.fixed.ordering).unwrap_or_default();
        let kept = match ordering {
            Ordering::Key => "kept within each key",
            Ordering::Partition => "kept within each partition",
            Ordering::None => return "none was asked for".to_owned(),
        };
        match &self.proven {
            Some(proven) if proven.is_clean() && proven.unfinished > 0 => {
                let left = proven.unfinished;
                format!("{kept}: every step was checked; {left} records are left for the next run")
            }
            Some(proven) if proven.is_clean() => format!("{kept}: every step was checked, nothing lost"),
            Some(_) => "VIOLATED: see keyweir verify".to_owned(),
            None => format!("{kept} (--event-log FILE lets keyweir verify prove it)"),
        }
    }

    fn dead_letter_topic(&self) -> &str {
        match self.object.as_ref().map(|object| &object.config.fixed.on_exhausted) {
            Some(ExhaustedAction::DeadLetter { topic }) => topic,
            _ => "of the manifest",
        }
    }

    /// Where what the handlers made is to be found.
    fn results(&self, args: &RunArgs) -> String {
        let outputs =
            self.object.as_ref().map(|object| object.config.fixed.outputs.as_slice()).unwrap_or_default();
        let topics: Vec<_> = outputs.iter().map(|output| output.topic.as_str()).collect();
        let checkpoints = format!("progress in {}", args.data.display());
        match (total_text(self.total.outputs), topics.is_empty()) {
            (_, true) => format!("with the handler; {checkpoints}"),
            (count, false) => format!("{count} in topic {}; {checkpoints}", topics.join(", ")),
        }
    }
}

fn total_text(outputs: u64) -> String {
    if outputs == 1 { "1 output".to_owned() } else { format!("{outputs} outputs") }
}

fn aside(count: u64, place: String) -> String {
    if count == 0 { "0".to_owned() } else { format!("{count}: {place}") }
}
