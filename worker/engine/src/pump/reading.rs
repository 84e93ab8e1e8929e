//! How a record is read before it is queued: its value decoded, its key found, its route chosen. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use keyweir_contract::handler::Route as RouteConfig;
use keyweir_contract::policy::{DecodeFormat, ExhaustedAction, KeySelector, NullKey, OnUnknown, Ordering};
use keyweir_contract::source::{Delivery, Source};
use keyweir_contract::worker_config::FixedConfig;
use keyweir_core::{LaneKey, Offset, Route};
use serde_json::Value;

use crate::outcome::Failure;
use crate::ports::BlockedKey;
use crate::record::Record;

/// The route of records that no configured route takes.
pub(super) const DEFAULT_ROUTE: Route = 0;

/// How an object's records are read.
#[derive(Debug)]
pub(super) struct Reading {
    format: DecodeFormat,
    type_header: String,
    selector: KeySelector,
    null_key: NullKey,
    ordering: Ordering,
    routes: Vec<RouteConfig>,
    unknown_has_handler: bool,
    needs_types: bool,
    parks_in_order: bool,
    /// Of what waits of a key only the newest is handled.
    newest_only: bool,
    /// Records need nothing but their bytes.
    plain: bool,
}

/// What a record can't do: reach a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its value is not what `decode` says.
    Undecodable(Failure),
    /// No route takes it.
    Unroutable(Failure),
    /// It follows a parked record of its key, whatever else it is.
    Behind {
        /// The parked record.
        first: Offset,
        /// What it is besides.
        itself: Option<Box<Unfit>>,
    },
}

impl Unfit {
    /// What it is by itself, whatever it follows.
    pub(super) fn itself(&self) -> Option<&Self> {
        match self {
            Self::Behind { itself, .. } => itself.as_deref(),
            Self::Undecodable(_) | Self::Unroutable(_) => Some(self),
        }
    }
}

impl Reading {
    pub(super) fn new(config: &FixedConfig) -> Self {
        let parks_in_order = parks_in_order(config);
        let newest_only = newest_only(config);
        Self {
            parks_in_order,
            newest_only,
            plain: config.decode.format == DecodeFormat::Raw
                && config.key.selector == KeySelector::RecordKey
                && config.routes.is_empty()
                && !parks_in_order
                && !newest_only,
            format: config.decode.format,
            type_header: config.decode.record_type_header.clone(),
            selector: config.key.selector.clone(),
            null_key: config.key.null_key,
            ordering: config.ordering,
            routes: config.routes.clone(),
            unknown_has_handler: config.on_unknown == OnUnknown::Default,
            needs_types: config.routes.iter().any(|route| !route.record_types.is_empty()),
        }
    }

    /// How many routes there are, the default one included.
    pub(super) fn routes(&self) -> usize {
        self.routes.len() + 1
    }

    /// Whether records need nothing but their bytes: the fast road.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether a parked record may hold its key.
    pub(super) fn parks_in_order(&self) -> bool {
        self.parks_in_order
    }

    /// Whether a record that waits for its first attempt gives way to a newer one of its key.
    pub(super) fn wants_newest_only(&self) -> bool {
        self.newest_only
    }

    /// What follows a parked record with that key; `None` = nothing does, it has no order.
    pub(super) fn blocked_key(&self, key: Option<&[u8]>) -> Option<BlockedKey> {
        match (self.ordering, key) {
            (Ordering::None, _) => None,
            (Ordering::Key, Some(key)) => Some(BlockedKey::Key(Bytes::copy_from_slice(key))),
            _ => self.orders_by_shard().then_some(BlockedKey::Shard),
        }
    }

    /// Whether a record's value is what `decode` says.
    pub(super) fn check(&self, record: &Record) -> Result<(), Unfit> {
        let undecodable = |what: &'static str, error: &dyn std::fmt::Display| {
            Unfit::Undecodable(Failure::new("Undecodable", format!("the value is not {what}: {error}")))
        };
        let Some(value) = record.value() else {
            return Ok(());
        };
        match self.format {
            DecodeFormat::Raw => Ok(()),
            DecodeFormat::String => {
                std::str::from_utf8(value).map(drop).map_err(|error| undecodable("UTF-8 text", &error))
            }
            DecodeFormat::Json => serde_json::from_slice::<serde::de::IgnoredAny>(value)
                .map(drop)
                .map_err(|error| undecodable("JSON", &error)),
            DecodeFormat::Streamback => serde_json::from_slice::<Envelope<'_>>(value)
                .map(drop)
                .map_err(|error| undecodable("a streamback envelope", &error)),
        }
    }

    /// The record as the handler sees it: unwrapped. What waits, weighs and is kept aside is the record as it was
    /// read.
    #[inline]
    pub(super) fn as_seen(&self, record: &Record) -> Record {
        if self.format == DecodeFormat::Streamback { unwrapped(record) } else { record.clone() }
    }

    /// The route of a record of that topic.
    pub(super) fn route(&self, topic: &str, record: &Record) -> Result<Route, Unfit> {
        if self.routes.is_empty() {
            return Ok(DEFAULT_ROUTE);
        }
        let record_type = if self.needs_types {
            record.header(&self.type_header).map(String::from_utf8_lossy)
        } else {
            None
        };
        let chosen = self.routes.iter().position(|route| route.takes(topic, record_type.as_deref()));
        match chosen {
            Some(place) => Ok((place + 1) as Route),
            None if self.unknown_has_handler => Ok(DEFAULT_ROUTE),
            None => Err(Unfit::Unroutable(Failure::new(
                "NoRoute",
                match record_type {
                    Some(name) => format!("no route takes records of type {name:?} of topic {topic}"),
                    None => format!("no route takes records of topic {topic}"),
                },
            ))),
        }
    }

    /// The ordering key's bytes; `None` = a null key.
    pub(super) fn key<'a>(&self, record: &'a Record) -> Option<Cow<'a, [u8]>> {
        match &self.selector {
            KeySelector::RecordKey => record.key().map(Cow::Borrowed),
            KeySelector::Header(name) => record
                .headers()
                .find(|(header, _)| header == name)
                .and_then(|(_, value)| value)
                .map(Cow::Borrowed),
            KeySelector::JsonPointer(pointer) => {
                let value: Value = serde_json::from_slice(record.value()?).ok()?;
                match value.pointer(pointer)? {
                    Value::Null => None,
                    Value::String(text) => Some(Cow::Owned(text.clone().into_bytes())),
                    other => Some(Cow::Owned(other.to_string().into_bytes())),
                }
            }
        }
    }

    /// Whether records without a key of their own follow each other all the same.
    pub(super) fn orders_by_shard(&self) -> bool {
        match self.ordering {
            Ordering::Partition => true,
            Ordering::Key => self.null_key == NullKey::Ordered,
            Ordering::None => false,
        }
    }

    /// The lane of a record with that key.
    #[inline]
    pub(super) fn lane<'a>(&self, stream: u16, record: &Record, key: Option<&'a [u8]>) -> LaneKey<'a> {
        match (self.ordering, key) {
            (Ordering::None, _) => LaneKey::Own,
            (Ordering::Partition, _) => LaneKey::Shard(record.shard),
            (Ordering::Key, Some(key)) => LaneKey::Key { stream, key },
            (Ordering::Key, None) => match self.null_key {
                NullKey::Unordered => LaneKey::Own,
                NullKey::Ordered => LaneKey::Shard(record.shard),
            },
        }
    }
}

/// Only where a lane is what changes one key of the store.
fn newest_only(config: &FixedConfig) -> bool {
    let latest = matches!(&config.source, Source::Etcd(etcd) if etcd.delivery == Delivery::Latest);
    latest && config.ordering == Ordering::Key && config.key.selector == KeySelector::RecordKey
}

fn parks_in_order(config: &FixedConfig) -> bool {
    let unknown = match &config.on_unknown {
        OnUnknown::Exhaust(action) => Some(action),
        OnUnknown::Default => None,
    };
    let ends = [Some(&config.on_exhausted), Some(&config.on_undecodable), unknown];
    ends.into_iter().flatten().any(|end| *end == ExhaustedAction::Park { blocks_key: true })
}

/// The record with what its envelope holds.
fn unwrapped(record: &Record) -> Record {
    let envelope = record.value().and_then(|value| serde_json::from_slice::<Envelope<'_>>(value).ok());
    match envelope {
        Some(envelope) => record.with_value(envelope.value.map(|inner| inner.get().as_bytes())),
        None => record.clone(),
    }
}

/// What streamback wraps around a value.
#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    value: Option<&'a serde_json::value::RawValue>,
}
