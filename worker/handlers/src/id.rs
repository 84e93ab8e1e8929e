//! How a record is named towards handlers. Up: [`crate`].

use keyweir_engine::ports::Request;

/// `topic/partition/offset`: the CloudEvents id and the id of every line, the same for each attempt.
pub(crate) fn record_id(request: &Request) -> String {
    format!("{}/{}", request.shard, request.record.offset)
}
