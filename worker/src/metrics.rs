//! `/metrics`: all names of the worker, in one place.
//!
//! Nothing is counted here: at each scrape the pumps' snapshots are turned into Prometheus text, so that no scrape
//! can delay a record and none can panic at shutdown. Base units; labels `object`, and `shard` or `reason` where
//! they have few values. `tests/metrics.txt` holds the names, for dashboards and alerts.

use std::fmt;

use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use keyweir_contract::meter::{Measured, Reading};
use keyweir_engine::ownership::OwnershipSnapshot;
use keyweir_engine::pump::{Counters, Durations, Snapshot, TIME_BOUNDS};
use keyweir_routing::RoutingCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::host::{ObjectView, Views};

/// Counters by name, help and where they stand.
type CounterRow = (&'static str, &'static str, fn(&Counters) -> u64);

const COUNTERS: &[CounterRow] = &[
    ("keyweir_records_polled", "Records read and charged", |c| c.polled),
    ("keyweir_records_completed", "Records that completed, whatever their road", |c| c.completed),
    ("keyweir_records_replayed", "Records read again that were complete by the checkpoint", |c| c.replayed),
    ("keyweir_attempts", "Attempts made", |c| c.attempts),
    ("keyweir_retries", "Attempts that failed and are made again", |c| c.retries),
    ("keyweir_records_dead_lettered", "Records written to a dead-letter topic", |c| c.dead_lettered),
    ("keyweir_records_parked", "Records parked", |c| c.parked),
    ("keyweir_records_skipped", "Records dropped because the policy says Skip", |c| c.skipped),
    (
        "keyweir_records_superseded",
        "Records that a newer one of their key replaced, by delivery: Latest",
        |c| c.superseded,
    ),
    ("keyweir_records_undecodable", "Records that could not be decoded", |c| c.undecodable),
    ("keyweir_records_unroutable", "Records that no route takes", |c| c.unroutable),
    ("keyweir_handler_timeouts", "Attempts that ended by the time-out", |c| c.timeouts),
    ("keyweir_handler_panics", "Handlers that panicked", |c| c.panics),
    ("keyweir_handler_unavailable", "Answers that the handler can't be reached or is full", |c| {
        c.unavailable
    }),
    ("keyweir_outputs_written", "Outputs written", |c| c.outputs),
    (
        "keyweir_writes_failed",
        "Writes of outputs, dead letters or parked records that are tried again",
        |c| c.failed_writes,
    ),
    ("keyweir_checkpoints_saved", "Checkpoints saved", |c| c.checkpoints),
    ("keyweir_checkpoints_failed", "Saves of checkpoints that are tried again", |c| c.failed_checkpoints),
    ("keyweir_checkpoints_fenced", "Checkpoints refused because a newer owner has written", |c| c.fenced),
    ("keyweir_hooks_failed", "Hooks that panicked", |c| c.failed_hooks),
    ("keyweir_records_recalled", "Records read again whose content had been given back", |c| c.recalled),
    ("keyweir_records_gone", "Records that the log dropped before they were read again", |c| c.gone),
    ("keyweir_source_resyncs", "Shards read anew, because the history they needed was compacted", |c| {
        c.resyncs
    }),
];

type GaugeRow = (&'static str, &'static str, fn(&ObjectView, &Snapshot) -> Option<f64>);

const GAUGES: &[GaugeRow] = &[
    ("keyweir_concurrency", "Records that may execute at the same time", |_, s| Some(s.concurrency as f64)),
    ("keyweir_records_in_flight", "Records that are executing", |_, s| Some(s.in_flight as f64)),
    ("keyweir_records_in_sight", "Records read and not complete", |_, s| Some(s.in_sight as f64)),
    ("keyweir_records_spilled", "Records in sight of which only the place is kept", |_, s| {
        Some(s.spilled as f64)
    }),
    ("keyweir_bytes_in_sight", "Bytes of the records in sight", |_, s| Some(s.bytes_in_sight as f64)),
    ("keyweir_busy_keys", "Keys that have a record in sight", |_, s| Some(s.busy_keys as f64)),
    ("keyweir_records_waiting", "Records that wait for their next attempt", |_, s| Some(s.waiting as f64)),
    ("keyweir_records_queued", "Records in sight that are not executing", |_, s| {
        Some(s.in_sight.saturating_sub(s.in_flight) as f64)
    }),
    ("keyweir_intake_stopped", "1 while the budget stops the intake", |_, s| {
        Some(f64::from(u8::from(s.intake_stopped)))
    }),
    ("keyweir_shards_owned", "Shards owned", |_, s| Some(s.shards.len() as f64)),
    ("keyweir_lag_records", "Records behind the frontier; absent while unknown", |view, _| {
        view.lag().map(|lag| lag.records as f64)
    }),
    (
        "keyweir_lag_seconds",
        "Age of the oldest record behind the frontier; absent while unknown",
        |view, _| view.lag().and_then(|lag| lag.seconds).map(|seconds| seconds as f64),
    ),
    ("keyweir_records_kept_aside", "Parked records there are; absent while unknown", |view, _| {
        view.kept_aside().map(|records| records as f64)
    }),
    ("keyweir_ready", "1 while /readyz names nothing that is missing", |view, s| {
        Some(f64::from(u8::from(view.missing(s).is_empty())))
    }),
];

/// The same of routing, where keys are routed.
type RoutingRow = (&'static str, &'static str, fn(&RoutingCounters) -> u64);

const ROUTING: &[RoutingRow] = &[
    ("keyweir_records_routed", "Records that other members executed for this one", |c| c.routed),
    ("keyweir_records_rerouted", "Records that lost the member that executed them", |c| c.rerouted),
    ("keyweir_routing_busy", "Answers of other members that all their seats are taken", |c| c.busy),
    ("keyweir_records_hosted", "Records executed here for other members", |c| c.hosted),
    ("keyweir_wire_refused", "Strangers that were refused on the wire between members", |c| c.refused),
];

/// The same of ownership, where there are several members.
type OwnershipRow = (&'static str, &'static str, MetricType, fn(&OwnershipSnapshot) -> Option<f64>);

const OWNERSHIP: &[OwnershipRow] = &[
    ("keyweir_members", "Live members of the object", MetricType::Gauge, |o| Some(o.members as f64)),
    ("keyweir_shards_unowned", "Shards without an owner", MetricType::Gauge, |o| Some(o.unowned as f64)),
    ("keyweir_shards_moving", "Shards on their way here or away", MetricType::Gauge, |o| {
        Some(o.moving as f64)
    }),
    (
        "keyweir_lease_age_seconds",
        "Since the last renewal of the lease was asked for",
        MetricType::Gauge,
        |o| Some(o.renewed.map_or(0.0, |renewed| renewed.elapsed().as_secs_f64())),
    ),
    (
        "keyweir_store_history_seconds",
        "How long etcd has kept its history, at least; absent where another member asks",
        MetricType::Gauge,
        |o| o.history.map(|history| history.age.as_secs_f64()),
    ),
    (
        "keyweir_store_history_revisions",
        "How many revisions etcd has kept, at least; absent where another member asks",
        MetricType::Gauge,
        |o| o.history.map(|history| history.revisions as f64),
    ),
    ("keyweir_joins", "Incarnations that joined", MetricType::Counter, |o| Some(o.counters.joins as f64)),
    ("keyweir_leases_lost", "Leases that were lost", MetricType::Counter, |o| {
        Some(o.counters.lost_leases as f64)
    }),
    (
        "keyweir_freezes",
        "Times at which dispatch was stopped because the lease was in doubt",
        MetricType::Counter,
        |o| Some(o.counters.freezes as f64),
    ),
    ("keyweir_shards_claimed", "Shards taken over", MetricType::Counter, |o| Some(o.counters.claims as f64)),
    ("keyweir_claims_lost", "Shards that another member took first", MetricType::Counter, |o| {
        Some(o.counters.lost_claims as f64)
    }),
    ("keyweir_shards_released", "Shards given up in order", MetricType::Counter, |o| {
        Some(o.counters.releases as f64)
    }),
    ("keyweir_records_handed_over", "Records handed over while they executed", MetricType::Counter, |o| {
        Some(o.counters.handed_over as f64)
    }),
    (
        "keyweir_records_taken_over",
        "Records taken over while they executed elsewhere",
        MetricType::Counter,
        |o| Some(o.counters.taken_over as f64),
    ),
];

/// Turns the objects' snapshots into Prometheus text.
pub(crate) fn text(views: &Views) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Objects(views.borrow().to_vec())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// What the text is, as an HTTP header.
pub(crate) const CONTENT: [(HeaderName, &str); 1] =
    [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];

/// Turns a meter's readings into Prometheus text. Other names than a worker's: sums must not count a lag twice.
pub(crate) fn of_meter<'a>(readings: impl Iterator<Item = &'a Reading>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Readings(readings.cloned().collect())));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Readings(Vec<Reading>);

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        type ReadingRow = (&'static str, &'static str, fn(&Measured) -> Option<f64>);
        let rows: [ReadingRow; 2] = [
            (
                "keyweir_meter_lag_records",
                "Records behind the group's offset; absent while unknown",
                |measured| match measured {
                    Measured::Backlog(backlog) => Some(backlog.records as f64),
                    Measured::Trouble(_) => None,
                },
            ),
            (
                "keyweir_meter_source_reachable",
                "1 while the source says how far an object is behind",
                |measured| Some(f64::from(u8::from(matches!(measured, Measured::Backlog(_))))),
            ),
        ];
        for (name, help, value) in rows {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for reading in &self.0 {
                if let Some(value) = value(&reading.measured) {
                    let labels = [("object", reading.name.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Objects(Vec<ObjectView>);

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let seen: Vec<_> = self.0.iter().map(|view| (view, view.snapshot())).collect();
        for (name, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (view, snapshot) in &seen {
                let labels = [("object", view.name())];
                ConstCounter::new(value(&snapshot.counters)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in ROUTING {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (view, _) in &seen {
                if let Some(counters) = view.routing() {
                    let labels = [("object", view.name())];
                    ConstCounter::new(value(&counters)).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (view, snapshot) in &seen {
                if let Some(value) = value(view, snapshot) {
                    let labels = [("object", view.name())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, sort, value) in OWNERSHIP {
            let mut family = encoder.encode_descriptor(name, help, None, *sort)?;
            for (view, _) in &seen {
                let Some(value) = view.fleet().and_then(|fleet| value(&fleet)) else { continue };
                let labels = [("object", view.name())];
                let family = family.encode_family(&labels)?;
                match sort {
                    MetricType::Counter => ConstCounter::new(value).encode(family)?,
                    _ => ConstGauge::new(value).encode(family)?,
                }
            }
        }
        for (name, help, times) in TIMES {
            histogram(&mut encoder, &seen, (name, help), *times)?;
        }
        shards(&mut encoder, &seen)
    }
}

type Seen<'a> = [(&'a ObjectView, std::sync::Arc<Snapshot>)];

/// How long things take.
type TimeRow = (&'static str, &'static str, fn(&ObjectView, &Snapshot) -> Option<Durations>);

const TIMES: &[TimeRow] = &[
    ("keyweir_handler_seconds", "How long handlers took", |_, s| Some(s.handler_time)),
    ("keyweir_checkpoint_seconds", "How long saves of checkpoints took", |_, s| Some(s.checkpoint_time)),
    (
        "keyweir_shard_opening_seconds",
        "How long it took from winning a shard until it was handled",
        |view, _| view.fleet().map(|fleet| fleet.opening_time),
    ),
];

fn histogram(
    encoder: &mut DescriptorEncoder,
    seen: &Seen<'_>,
    (name, help): (&'static str, &'static str),
    times: fn(&ObjectView, &Snapshot) -> Option<Durations>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (view, snapshot) in seen {
        let Some(time) = times(view, snapshot) else { continue };
        let bounds = TIME_BOUNDS.into_iter().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(time.classes).collect();
        let labels = [("object", view.name())];
        let mut metric = family.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(
            time.total.as_secs_f64(),
            time.classes.iter().sum(),
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn shards(encoder: &mut DescriptorEncoder, seen: &Seen<'_>) -> Result<(), fmt::Error> {
    type ShardRow = (&'static str, &'static str, fn(&keyweir_engine::pump::ShardSnapshot) -> f64);
    let rows: [ShardRow; 3] = [
        ("keyweir_shard_frontier", "All offsets below are complete", |shard| shard.frontier.0 as f64),
        ("keyweir_shard_frontier_gap", "Offsets between the frontier and the next one to be read", |shard| {
            (shard.next.0 - shard.frontier.0) as f64
        }),
        ("keyweir_shard_checkpoint_age_seconds", "How long the checkpoint has been behind", |shard| {
            shard.checkpoint_age.as_secs_f64()
        }),
    ];
    for (name, help, value) in rows {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (view, snapshot) in seen {
            for shard in &snapshot.shards {
                let id = shard.id.to_string();
                let labels = [("object", view.name()), ("shard", id.as_str())];
                ConstGauge::new(value(shard)).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    const HELD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics.txt");

    /// Dashboards and alerts name these: a change is deliberate, and said in the same commit.
    #[test]
    fn the_names_are_those_that_were_promised() {
        let (_, views) = watch::channel(Vec::new());
        let text = super::text(&views).expect("it can be written");
        let text = text + &super::of_meter(std::iter::empty()).expect("it can be written");
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let found = lines.join("\n") + "\n";
        if std::env::var_os("KEYWEIR_REWRITE").is_some() {
            std::fs::write(HELD, &found).expect("the fixture is written");
        }
        let held = std::fs::read_to_string(HELD).expect("the fixture");
        assert_eq!(found, held, "meant? then run this test with KEYWEIR_REWRITE=1");
    }
}
