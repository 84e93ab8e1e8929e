//! What the page is told: all objects together, and some of them one by one.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::board::{Row, Tone};
use crate::{cluster::events::Recent, context::Context, registry::Name, settings::Scope};

/// So many objects are shown at a time, those first that need attention.
const SHOWN: usize = 200;

/// All that the page shows.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// Now, in milliseconds since the epoch.
    now: i64,
    operator: OperatorRow,
    totals: Totals,
    /// Objects that are as was asked.
    matching: usize,
    objects: Vec<ObjectRow>,
    happenings: Vec<Recent>,
}

#[derive(Debug, Serialize)]
struct OperatorRow {
    version: &'static str,
    class: String,
    scope: String,
    instance: String,
    leads: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    /// For so long it has been running.
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct ObjectRow {
    namespace: String,
    name: String,
    #[serde(flatten)]
    row: Row,
}

/// All objects together.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    objects: usize,
    ready: usize,
    attention: usize,
    lagging: usize,
    /// Objects whose lag is not known.
    unknown: usize,
    /// Of the others.
    lag: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<i64>,
    in_flight: i64,
    parked: i64,
    members: i64,
    shards: i64,
    owned: i64,
}

impl Overview {
    pub(super) fn of(ctx: &Context, find: &str, attention: bool) -> Self {
        let mut rows = ctx.board.rows();
        ctx.registry.freshen(&mut rows);
        let totals = Totals::of(&rows);
        let find = find.trim().to_lowercase();
        let wanted = |(name, row): &(Name, Row)| {
            (!attention || needs_attention(row)) && name.to_string().contains(&find)
        };
        rows.retain(wanted);
        // The order of names stays within each tone.
        rows.sort_by_key(|(_, row)| row.tone);
        let matching = rows.len();
        rows.truncate(SHOWN);
        let objects =
            rows.into_iter().map(|(Name { namespace, name }, row)| ObjectRow { namespace, name, row });
        let settings = &ctx.settings;
        Self {
            now: now(),
            operator: OperatorRow {
                version: env!("CARGO_PKG_VERSION"),
                class: settings.class.clone(),
                scope: match &settings.scope {
                    Scope::Cluster => "all namespaces".to_owned(),
                    Scope::Namespaces(names) => names.join(", "),
                },
                instance: settings.instance.clone().unwrap_or_else(|| "this operator".to_owned()),
                leads: ctx.metrics.is_leader(),
                lease: settings.lease.clone(),
                seconds: ctx.began.elapsed().as_secs(),
            },
            totals,
            matching,
            objects: objects.collect(),
            happenings: ctx.events.recent(),
        }
    }
}

fn needs_attention(row: &Row) -> bool {
    matches!(row.tone, Tone::Bad | Tone::Warn)
}

impl Totals {
    fn of(rows: &[(Name, Row)]) -> Self {
        let mut totals = Self { objects: rows.len(), ..Self::default() };
        for (_, row) in rows {
            totals.ready += usize::from(row.ready);
            totals.attention += usize::from(needs_attention(row));
            totals.lagging += usize::from(row.lagging);
            totals.unknown += usize::from(row.lag.is_none());
            totals.lag += row.lag.unwrap_or(0);
            totals.lag_seconds = totals.lag_seconds.max(row.lag_seconds);
            totals.in_flight += row.in_flight.unwrap_or(0);
            totals.parked += row.parked.unwrap_or(0);
            totals.members += i64::from(row.members.unwrap_or(0));
            totals.shards += row.shards.map_or(0, |shards| i64::from(shards.total));
            totals.owned += row.shards.map_or(0, |shards| i64::from(shards.owned));
        }
        totals
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
