//! Where a dead letter comes from: the headers that name its origin, and the guard against loops.
//!
//! | header | value |
//! |---|---|
//! | `keyweir-origin-topic`, `-partition`, `-offset` | where the record was read |
//! | `keyweir-origin-timestamp` | its own time, in milliseconds since the epoch |
//! | `keyweir-attempts` | how often it was tried |
//! | `keyweir-reason`, `keyweir-text` | the last failure: a stable word, and what a person wants to know |
//! | `keyweir-dead-letters` | how often it has become a dead letter |

use bytes::Bytes;
use keyweir_core::ShardId;

use crate::outcome::Failure;
use crate::record::{NewRecord, Record};

const PREFIX: &str = "keyweir-";
const COUNT: &str = "keyweir-dead-letters";

/// A record that has become a dead letter that often goes in circles.
const MOST: u32 = 8;

/// The dead letter of a record, or why it must not become one again.
pub(crate) fn dead_letter(
    record: &Record,
    shard: &ShardId,
    attempts: u32,
    failure: &Failure,
) -> Result<NewRecord, Failure> {
    let before = record.header(COUNT).and_then(|count| std::str::from_utf8(count).ok()?.parse::<u32>().ok());
    let count = before.unwrap_or(0) + 1;
    if count > MOST {
        let text = format!("the record was a dead letter {MOST} times; last: {failure}");
        return Err(Failure::new("DeadLetterLoop", text));
    }
    let mut letter = NewRecord::from(record);
    // Headers of an earlier dead letter give way to those of this one.
    letter.headers.retain(|(name, _)| !name.starts_with(PREFIX));
    let mut add = |name: &str, value: String| {
        letter.headers.push((format!("{PREFIX}{name}"), Some(Bytes::from(value))));
    };
    add("origin-topic", shard.stream.to_string());
    add("origin-partition", shard.index.to_string());
    add("origin-offset", record.offset.to_string());
    add("origin-timestamp", record.timestamp.to_string());
    add("attempts", attempts.to_string());
    add("reason", failure.reason.to_owned());
    add("text", failure.text.to_string());
    add("dead-letters", count.to_string());
    letter.timestamp = None;
    Ok(letter)
}

#[cfg(test)]
mod tests {
    use keyweir_core::{Offset, ShardIndex};

    use super::*;

    fn first() -> Record {
        let key = NewRecord { key: Some(Bytes::from("k")), timestamp: Some(5), ..NewRecord::default() };
        let own = ("mine".to_owned(), Some(Bytes::from("1")));
        NewRecord { headers: vec![own], ..key }.as_record(ShardIndex(0), Offset(7))
    }

    #[test]
    fn a_dead_letter_names_its_origin_and_keeps_its_own_headers() {
        let failure = Failure::new("Broken", "no way");
        let letter = dead_letter(&first(), &ShardId::new("orders", 3), 6, &failure).expect("no loop");
        let letter = letter.as_record(ShardIndex(0), Offset(0));
        let header = |name| letter.header(name).map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(header("mine").as_deref(), Some("1"));
        assert_eq!(header("keyweir-origin-topic").as_deref(), Some("orders"));
        assert_eq!(header("keyweir-origin-partition").as_deref(), Some("3"));
        assert_eq!(header("keyweir-origin-offset").as_deref(), Some("7"));
        assert_eq!(header("keyweir-attempts").as_deref(), Some("6"));
        assert_eq!(header("keyweir-reason").as_deref(), Some("Broken"));
    }

    #[test]
    fn a_record_that_goes_in_circles_is_caught() {
        let failure = Failure::new("Broken", "no way");
        let shard = ShardId::new("orders.dlq", 0);
        let mut record = first();
        for _ in 0..MOST {
            record = dead_letter(&record, &shard, 1, &failure)
                .expect("no loop yet")
                .as_record(ShardIndex(0), Offset(0));
        }
        let looped = dead_letter(&record, &shard, 1, &failure).expect_err("a loop");
        assert_eq!(looped.reason, "DeadLetterLoop");
    }
}
