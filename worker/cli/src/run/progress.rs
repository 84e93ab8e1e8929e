//! How the work is shown: a line for each object on a terminal, JSON lines elsewhere.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use keyweir_engine::pump::Snapshot;
use keyweir_worker::ObjectView;
use serde_json::{Value, json};

use super::summary::Summary;
use crate::args::{Progress, RunArgs};
use crate::say;

/// Writes log lines to standard error, above whatever is drawn on the terminal.
#[derive(Clone)]
pub(super) struct Beside(Option<MultiProgress>);

impl io::Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bars) => bars.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows the work on standard output.
pub(super) struct Display {
    shape: Shape,
    /// Of each object: what was complete, and when.
    before: HashMap<String, (u64, Instant)>,
}

enum Shape {
    Bars { all: MultiProgress, bars: HashMap<String, ProgressBar> },
    Json,
    None,
}

impl Display {
    pub(super) fn new(progress: Progress) -> Self {
        let on_terminal = io::stdout().is_terminal();
        let shape = match progress {
            Progress::Auto if !on_terminal => Shape::Json,
            Progress::Auto | Progress::Bars => Shape::Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
                bars: HashMap::new(),
            },
            Progress::Json => Shape::Json,
            Progress::None => Shape::None,
        };
        Self { shape, before: HashMap::new() }
    }

    /// Where log lines go meanwhile.
    pub(super) fn beside(&self) -> Beside {
        match &self.shape {
            Shape::Bars { all, .. } => Beside(Some(all.clone())),
            Shape::Json | Shape::None => Beside(None),
        }
    }

    /// Says where the process can be reached.
    pub(super) fn listening(&self, address: Option<SocketAddr>, data: &Path) {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        match &self.shape {
            Shape::Json => tell(&json!({"listening": address, "data": data})),
            Shape::Bars { all, .. } => {
                let text = format!("health and metrics: http://{address}/   data: {}", data.display());
                // A terminal that can't be written to shows nothing either way.
                let _ = all.println(text);
            }
            Shape::None => {}
        }
    }

    /// Shows how far the objects are.
    pub(super) fn tell(&mut self, views: &[ObjectView]) {
        for view in views {
            let snapshot = view.snapshot();
            let rate = self.rate(view.name(), snapshot.counters.completed);
            match &mut self.shape {
                Shape::Json => tell(&as_json(view, &snapshot, rate)),
                Shape::Bars { all, bars } => {
                    let bar = bars.entry(view.name().to_owned()).or_insert_with(|| all.add(bar()));
                    bar.set_message(as_text(view, &snapshot, rate));
                    bar.tick();
                }
                Shape::None => {}
            }
        }
    }

    fn rate(&mut self, name: &str, completed: u64) -> f64 {
        let now = Instant::now();
        let before = self.before.insert(name.to_owned(), (completed, now));
        let Some((count, at)) = before else { return 0.0 };
        let seconds = now.duration_since(at).as_secs_f64();
        if seconds > 0.0 { completed.saturating_sub(count) as f64 / seconds } else { 0.0 }
    }

    /// Says how it went.
    pub(super) fn end(&self, summary: &Summary, args: &RunArgs) {
        match &self.shape {
            Shape::Json => tell(&json!({"summary": summary.as_json()})),
            Shape::Bars { all, bars } => {
                bars.values().for_each(ProgressBar::finish);
                // Nothing is drawn over the summary any more.
                all.set_draw_target(ProgressDrawTarget::hidden());
                shown(say::out(format_args!("\n{}", summary.as_text(args))));
                return;
            }
            Shape::None => return,
        }
        say::err(format_args!("\n{}", summary.as_text(args)));
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

fn tell(progress: &Value) {
    shown(say::out(progress));
}

/// Progress that can't be shown stops nothing.
fn shown(_: io::Result<()>) {}

fn as_json(view: &ObjectView, snapshot: &Snapshot, rate: f64) -> Value {
    let counters = &snapshot.counters;
    json!({
        "object": view.name(),
        "completed": counters.completed,
        "rate": rate.round(),
        "lag": view.lag().map(|lag| lag.records),
        "inFlight": snapshot.in_flight,
        "waiting": snapshot.waiting,
        "busyKeys": snapshot.busy_keys,
        "retries": counters.retries,
        "parked": counters.parked,
        "deadLettered": counters.dead_lettered,
        "activity": format!("{:?}", snapshot.activity),
        "missing": view.missing(snapshot),
    })
}

fn as_text(view: &ObjectView, snapshot: &Snapshot, rate: f64) -> String {
    let counters = &snapshot.counters;
    let lag = view.lag().map_or_else(|| "?".to_owned(), |lag| lag.records.to_string());
    let mut text = format!(
        "{}  done {}  {rate:.0}/s  lag {lag}  in flight {}  keys {}",
        view.name(),
        counters.completed,
        snapshot.in_flight,
        snapshot.busy_keys
    );
    for (name, count) in [
        ("waiting", snapshot.waiting as u64),
        ("retries", counters.retries),
        ("parked", counters.parked),
        ("dead letters", counters.dead_lettered),
    ] {
        if count > 0 {
            text.push_str(&format!("  {name} {count}"));
        }
    }
    if let Some(what) = view.missing(snapshot).first() {
        text.push_str(&format!("  ! {what}"));
    }
    text
}
