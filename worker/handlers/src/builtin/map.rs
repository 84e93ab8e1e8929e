//! The small expression of the built-in `map`: a template that picks from the record.
//!
//! ```text
//! {"customer": "${/customer/id}", "note": "order ${/id} of ${key}", "source": "shop"}
//! ```
//!
//! PROTOCOL.md tells what may stand in it. An expression is read once, when the handler is built. Up: [`super`].

use bytes::Bytes;
use keyweir_engine::ports::Request;
use keyweir_engine::{Failure, NewRecord, Outcome, Output, Record, Verdict};
use serde_json::{Map as Object, Value};
use thiserror::Error;

use crate::reason;

/// Why an expression is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// `${` without its `}`.
    #[error("failed to read {text:?}: a ${{ lacks its }}")]
    Open {
        /// The text it stands in.
        text: String,
    },
    /// Something that can't be picked.
    #[error(
        "failed to read ${{{pick}}}: pick a JSON pointer such as /customer/id, or key, topic, partition, offset, timestamp, header:NAME"
    )]
    Pick {
        /// What stands between the braces.
        pick: String,
    },
}

/// An expression, ready to be used.
#[derive(Debug)]
pub(crate) struct Map {
    output: String,
    template: Node,
    /// Whether it looks into the value.
    reads_value: bool,
}

#[derive(Debug)]
enum Node {
    Constant(Value),
    Pick(Pick),
    Text(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Pick(Pick),
}

#[derive(Debug)]
enum Pick {
    Value(String),
    Key,
    Header(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
}

impl Map {
    /// Reads an expression whose results go to an output.
    pub(crate) fn read(expression: &str, output: &str) -> Result<Self, ExpressionError> {
        let written =
            serde_json::from_str(expression).unwrap_or_else(|_| Value::String(expression.to_owned()));
        let template = Node::read(written)?;
        let reads_value = template.reads_value();
        Ok(Self { output: output.to_owned(), template, reads_value })
    }

    /// What the expression makes of a record.
    pub(crate) fn apply(&self, request: &Request) -> Outcome {
        let value = match self.value_of(&request.record) {
            Ok(value) => value,
            Err(failure) => return Outcome::from(Verdict::Reject(failure)),
        };
        let made = self.template.fill(&Sight { request, value });
        let value = match made {
            Value::String(text) => Bytes::from(text),
            other => Bytes::from(other.to_string()),
        };
        let key = request.record.key().map(Bytes::copy_from_slice);
        let record = NewRecord { key, value: Some(value), ..NewRecord::default() };
        Outcome { verdict: Verdict::Done, outputs: vec![Output { name: self.output.clone(), record }] }
    }

    fn value_of(&self, record: &Record) -> Result<Value, Failure> {
        let Some(bytes) = record.value().filter(|_| self.reads_value) else { return Ok(Value::Null) };
        serde_json::from_slice(bytes)
            .map_err(|error| Failure::new(reason::VALUE_INVALID, format!("the value is no JSON: {error}")))
    }
}

/// What a template sees.
struct Sight<'a> {
    request: &'a Request,
    value: Value,
}

impl Node {
    fn read(written: Value) -> Result<Self, ExpressionError> {
        Ok(match written {
            Value::String(text) => Self::read_text(&text)?,
            Value::Array(list) => Self::List(list.into_iter().map(Self::read).collect::<Result<_, _>>()?),
            Value::Object(object) => {
                let entry = |(name, value)| Ok((name, Self::read(value)?));
                Self::Object(object.into_iter().map(entry).collect::<Result<_, _>>()?)
            }
            constant => Self::Constant(constant),
        })
    }

    fn read_text(text: &str) -> Result<Self, ExpressionError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            let open = || ExpressionError::Open { text: text.to_owned() };
            let (pick, after) = behind.split_once('}').ok_or_else(open)?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Pick(Pick::read(pick)?));
            rest = after;
        }
        if pieces.is_empty() {
            return Ok(Self::Constant(Value::String(rest.to_owned())));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        match pieces.pop() {
            Some(Piece::Pick(pick)) if pieces.is_empty() => Ok(Self::Pick(pick)),
            last => Ok(Self::Text(pieces.into_iter().chain(last).collect())),
        }
    }

    fn reads_value(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Pick(pick) => pick.reads_value(),
            Self::Text(pieces) => {
                pieces.iter().any(|piece| matches!(piece, Piece::Pick(pick) if pick.reads_value()))
            }
            Self::List(nodes) => nodes.iter().any(Self::reads_value),
            Self::Object(nodes) => nodes.iter().any(|(_, node)| node.reads_value()),
        }
    }

    fn fill(&self, sight: &Sight<'_>) -> Value {
        match self {
            Self::Constant(value) => value.clone(),
            Self::Pick(pick) => pick.take(sight),
            Self::Text(pieces) => Value::String(pieces.iter().map(|piece| piece.text(sight)).collect()),
            Self::List(nodes) => nodes.iter().map(|node| node.fill(sight)).collect(),
            Self::Object(nodes) => {
                let filled = nodes.iter().map(|(name, node)| (name.clone(), node.fill(sight)));
                Value::Object(filled.collect::<Object<_, _>>())
            }
        }
    }
}

impl Piece {
    fn text(&self, sight: &Sight<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Pick(pick) => match pick.take(sight) {
                Value::Null => String::new(),
                Value::String(text) => text,
                other => other.to_string(),
            },
        }
    }
}

impl Pick {
    fn read(pick: &str) -> Result<Self, ExpressionError> {
        Ok(match pick {
            "key" => Self::Key,
            "topic" => Self::Topic,
            "partition" => Self::Partition,
            "offset" => Self::Offset,
            "timestamp" => Self::Timestamp,
            pointer if pointer.is_empty() || pointer.starts_with('/') => Self::Value(pointer.to_owned()),
            other => match other.strip_prefix("header:") {
                Some(name) if !name.is_empty() => Self::Header(name.to_owned()),
                _ => return Err(ExpressionError::Pick { pick: other.to_owned() }),
            },
        })
    }

    fn reads_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }

    fn take(&self, sight: &Sight<'_>) -> Value {
        let Request { record, shard, .. } = sight.request;
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        match self {
            Self::Value(pointer) => sight.value.pointer(pointer).cloned().unwrap_or_default(),
            Self::Key => text(record.key()).into(),
            Self::Header(name) => text(record.header(name)).into(),
            Self::Topic => Value::from(&*shard.stream),
            Self::Partition => shard.index.into(),
            Self::Offset => record.offset.0.into(),
            Self::Timestamp => record.timestamp.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Draft;

    fn made(expression: &str, value: &str) -> String {
        let map = Map::read(expression, "out").expect(expression);
        let draft = Draft::new("orders", 3, 7).key("k").value(value).header("h", "x");
        let outcome = map.apply(&draft.build());
        match outcome.outputs.first() {
            Some(output) => {
                String::from_utf8(output.record.value.clone().expect("a value").to_vec()).expect("text")
            }
            None => format!("{:?}", outcome.verdict),
        }
    }

    #[test]
    fn a_template_picks_keeps_types_and_leaves_the_rest() {
        let value = r#"{"customer":{"id":42,"name":"Ö"},"items":[{"n":1},{"n":2}]}"#;
        for (expression, result) in [
            (r#"{"id":"${/customer/id}","n":["${/items/1/n}",7]}"#, r#"{"id":42,"n":[2,7]}"#),
            ("${/customer/name}", "Ö"),
            ("${/customer}", r#"{"id":42,"name":"Ö"}"#),
            ("order of ${/customer/name}: ${/items/0/n}${/none}", "order of Ö: 1"),
            (r#"{"none":"${/none}"}"#, r#"{"none":null}"#),
            (
                r#"["${key}","${topic}","${partition}","${offset}","${header:h}","${header:none}"]"#,
                r#"["k","orders",3,7,"x",null]"#,
            ),
            ("just text", "just text"),
            ("17", "17"),
        ] {
            assert_eq!(made(expression, value), result, "{expression}");
        }
        assert_eq!(made("${}", "[1]"), "[1]");
    }

    #[test]
    fn a_value_that_is_no_json_is_rejected_only_where_it_is_read() {
        assert!(made("${/a}", "{").contains("HandlerValueInvalid"));
        assert_eq!(made("${key}", "{"), "k");
    }

    #[test]
    fn an_expression_that_cannot_be_meant_is_refused() {
        let refused = |expression| Map::read(expression, "out").expect_err(expression).to_string();
        assert!(refused("${/a").contains("lacks its }"), "{}", refused("${/a"));
        assert!(refused(r#"{"a":"${customer}"}"#).contains("such as /customer/id"));
        assert!(refused("${header:}").contains("header:NAME"));
    }
}
