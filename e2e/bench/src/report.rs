//! The results as Markdown: a table for each topic, one line for each contender, losses included.

use std::fmt::Write;

use crate::plan::{Aim, Shape};
use crate::results::{Measured, Results, Row};

/// All tables.
#[must_use]
pub fn markdown(results: &Results) -> String {
    let mut text = head(results);
    let mut shapes: Vec<Shape> = Vec::new();
    for row in &results.rows {
        if row.aim == Aim::Rate && !shapes.contains(&row.shape) {
            shapes.push(row.shape);
        }
    }
    for shape in shapes {
        let of_shape = |row: &&Row| row.aim == Aim::Rate && row.shape == shape;
        let rows: Vec<&Row> = results.rows.iter().filter(of_shape).collect();
        text.push_str(&format!("\n## Topic {shape}\n"));
        let mut handlers: Vec<u64> = rows.iter().map(|row| row.handler_ms).collect();
        handlers.dedup();
        for handler in handlers {
            text.push_str(&rate_table(handler, &rows, results.keys));
        }
    }
    let latencies: Vec<&Row> = results.rows.iter().filter(|row| row.aim == Aim::Latency).collect();
    if !latencies.is_empty() {
        text.push_str(&latency_table(&latencies));
    }
    text.push_str(&failures(results));
    text
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let versions: Vec<&str> = machine.versions.iter().map(|(_, version)| version.as_str()).collect();
    format!(
        "# Records a second, on one machine with the broker\n\n\
         {} keys, {} records a topic, windows of {} s from the first record; medians, lowest and highest in \
         parentheses. The order of each key is checked in every run.\n\n\
         {} × {}, {} GiB, kernel {}, commit {}; {}.\n",
        results.keys,
        grouped(results.records as f64),
        results.window_seconds,
        machine.cores,
        machine.processor,
        machine.memory_gib,
        machine.kernel,
        machine.commit,
        versions.join("; "),
    )
}

fn rate_table(handler: u64, rows: &[&Row], keys: usize) -> String {
    let mut text = format!(
        "\n### Handler of {handler} ms\n\n\
         | contender | records/s | second half | of the ceiling | µs CPU a record | cores | peak MB | \
         out of order | broker cores | other cores |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for row in rows.iter().filter(|row| row.handler_ms == handler) {
        let Some((rate, lowest, highest)) = row.spread(|run| run.rate) else {
            let _ = writeln!(text, "| {} | failed | | | | | | | | |", row.title);
            continue;
        };
        let number = |of: fn(&Measured) -> f64| row.median(of).unwrap_or_default();
        let share =
            row.ceiling(keys).map_or("–".to_owned(), |most| format!("{:.0} %", rate / most * 100.0));
        let spread = if row.runs.len() > 1 {
            format!(" ({}–{})", grouped(lowest), grouped(highest))
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "| {} | {}{spread} | {} | {share} | {:.2} | {:.2} | {:.0} | {} | {:.2} | {:.2} |",
            row.title,
            grouped(rate),
            grouped(number(|run| run.second_half_rate)),
            number(|run| run.cpu_microseconds_per_record),
            number(|run| run.cores),
            number(|run| run.peak_megabytes),
            row.runs.iter().map(|run| run.violations).sum::<u64>(),
            number(|run| run.broker_cores),
            number(|run| run.other_cores),
        );
    }
    text
}

fn latency_table(rows: &[&Row]) -> String {
    let mut text = "\n## Latency above a handler of 10 ms, at 5,000 records a second\n\n\
         From the moment at which a record was to be written to the start of its handler. Beside it the same of a bare \
         loop that read the same records at the same time: what producer, broker and pauses of the machine take.\n\n\
         | contender | median ms | 99 % ms | highest ms | bare: median | 99 % | highest | cores | peak MB | \
         out of order |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for row in rows {
        let three = |of: fn(&Measured) -> Option<[f64; 3]>| {
            let at = |which: usize| row.median(|run| of(run).map_or(f64::NAN, |all| all[which]));
            Some(format!("{:.1} | {:.1} | {:.1}", at(0)?, at(1)?, at(2)?))
        };
        let (Some(own), Some(control)) = (three(|run| run.latency_ms), three(|run| run.control_ms)) else {
            let _ = writeln!(text, "| {} | failed | | | | | | | | |", row.title);
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | {own} | {control} | {:.2} | {:.0} | {} |",
            row.title,
            row.median(|run| run.cores).unwrap_or_default(),
            row.median(|run| run.peak_megabytes).unwrap_or_default(),
            row.runs.iter().map(|run| run.violations).sum::<u64>(),
        );
    }
    text
}

fn failures(results: &Results) -> String {
    let mut text = String::new();
    for row in &results.rows {
        for failure in &row.failures {
            let first = failure.lines().next().unwrap_or_default();
            let _ = writeln!(text, "- {}, {}, {} ms: {first}", row.title, row.shape, row.handler_ms);
        }
    }
    if text.is_empty() { text } else { format!("\n## What failed\n\n{text}") }
}

/// 1234567 as `1,234,567`.
#[must_use]
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::tests::row;

    #[test]
    fn every_contender_has_its_line_losers_and_failures_too() {
        let mut broken = row("broken", 10, &[]);
        broken.failures.push("failed to run it\nlong story".into());
        let rows = vec![row("fast", 10, &[5000.0, 6000.0, 5500.0]), row("slow", 10, &[10.0]), broken];
        let results =
            Results { machine: Machine::default(), keys: 1000, records: 100, window_seconds: 10.0, rows };
        let text = markdown(&results);
        assert!(text.contains("| fast | 5,500 (5,000–6,000) | 0 | 86 % |"), "{text}");
        assert!(text.contains("| slow | 10 |") && text.contains("| broken | failed |"), "{text}");
        assert!(text.contains("- broken, 8-uniform, 10 ms: failed to run it\n"), "{text}");
    }
}
