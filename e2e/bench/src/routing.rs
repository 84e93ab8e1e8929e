//! What more workers than partitions are worth with `routing: Key`: one partition, a handler of 10 ms, 64 records at once
//! a worker. Order is not looked at here: the tests of a fleet do that, and event logs would be measured too.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use keyweir_e2e::broker::{Broker, BrokerOptions, Strength};
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions};
use keyweir_e2e::kafka::Kafka;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::dataset::{Format, pour};
use crate::machine::Machine;
use crate::plan::Keys;
use crate::report::grouped;

const HANDLER: Duration = Duration::from_millis(10);
const AT_ONCE: u32 = 64;

/// How long a window is unless somebody says otherwise, and what passes before it begins.
const WINDOW: u64 = 10;
const WARM_UP: Duration = Duration::from_secs(3);

/// How long workers may take to begin: so long there must be records left.
const BEGIN: u64 = 10;

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Routed {
    /// Where.
    pub machine: Machine,
    /// Seconds of each window.
    pub seconds: u64,
    /// With each number of workers.
    pub rows: Vec<Row>,
}

/// One number of workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// How many.
    pub workers: u32,
    /// Records completed a second, by all of them.
    pub rate: f64,
    /// Of those: executed by another worker than the one that read them.
    pub hosted: f64,
}

impl Row {
    /// The most that so many workers can do.
    fn ceiling(&self) -> f64 {
        f64::from(self.workers * AT_ONCE) / HANDLER.as_secs_f64()
    }
}

/// Measures one number of workers after the other; prints a table and writes `routing.json`.
///
/// # Errors
/// When a part can't be had, a fleet does not settle or the results can't be written.
pub fn run(workers: &[u32], seconds: Option<u64>, out: &Path) -> Result<(), Box<dyn Error>> {
    let seconds = seconds.unwrap_or(WINDOW);
    let broker = Broker::start_with(BrokerOptions::of(Strength::Full))?;
    let etcd = Etcd::start()?;
    let mut routed = Routed { machine: Machine::here(), seconds, rows: Vec::new() };
    for workers in workers {
        let row = measure(&broker.kafka(), &etcd.endpoint(), *workers, seconds)?;
        eprintln!("{} workers: {} records/s", row.workers, grouped(row.rate));
        routed.rows.push(row);
    }
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("routing.json"), serde_json::to_vec_pretty(&routed)?)?;
    println!("{}", table(&routed.rows));
    Ok(())
}

fn measure(kafka: &Kafka, etcd: &str, workers: u32, seconds: u64) -> Result<Row, Box<dyn Error>> {
    let options = FleetOptions {
        partitions: 1,
        member_ttl: "5s",
        handler: json!({"builtin": {"type": "Delay", "delay": format!("{}ms", HANDLER.as_millis())}}),
        spec: json!({"routing": "Key", "execution": {"concurrency": AT_ONCE}}),
        event_logs: false,
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::make(kafka.clone(), etcd, &options)?;
    let lasts = Duration::from_secs(BEGIN + seconds) + WARM_UP;
    let most = u128::from(workers * AT_ONCE) * lasts.as_millis() / HANDLER.as_millis();
    pour(kafka, fleet.topic(), Keys::Uniform, Format::Plain, u64::try_from(most)?)?;
    for _ in 0..workers {
        fleet.start()?;
    }
    fleet.settle()?;
    std::thread::sleep(WARM_UP);
    let count =
        |name: &str| -> f64 { fleet.running().filter_map(|number| fleet.worker(number).metric(name)).sum() };
    let counted = || (count("keyweir_records_completed_total"), count("keyweir_records_hosted_total"));
    let (began, before) = (Instant::now(), counted());
    std::thread::sleep(Duration::from_secs(seconds));
    let (after, took) = (counted(), began.elapsed().as_secs_f64());
    Ok(Row { workers, rate: (after.0 - before.0) / took, hosted: (after.1 - before.1) / took })
}

/// The rows as Markdown.
fn table(rows: &[Row]) -> String {
    let mut text = "| workers | records/s | of the ceiling | times the first row | executed elsewhere |\n\
                    |--:|--:|--:|--:|--:|\n"
        .to_owned();
    let first = rows.first().map_or(f64::NAN, |row| row.rate);
    for row in rows {
        let Row { workers, rate, hosted } = row;
        let (share, times) = (rate / row.ceiling() * 100.0, rate / first);
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "| {workers} | {} | {share:.0} % | {times:.2} | {:.0} % |",
            grouped(*rate),
            hosted / rate * 100.0
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_more_workers_are_worth() {
        let rows = [(1, 6400.0, 0.0), (4, 24_320.0, 18_240.0)];
        let rows = rows.map(|(workers, rate, hosted)| Row { workers, rate, hosted });
        let text = table(&rows);
        assert!(text.contains("| 1 | 6,400 | 100 % | 1.00 | 0 % |"), "{text}");
        assert!(text.contains("| 4 | 24,320 | 95 % | 3.80 | 75 % |"), "{text}");
    }
}
