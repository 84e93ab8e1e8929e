//! Texts that stand for amounts: durations, sizes, and lists of one rule each. They keep what the user wrote; `keyweir-render`
//! reads them.

use std::borrow::Cow;

use keyweir_contract::{bytes, duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::words;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $pattern:expr, $length:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text, as the user wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "maxLength": $length})
            }
        }
    };
}

text!(
    /// A duration such as `30s` or `1m30s`.
    DurationText,
    duration::PATTERN,
    28
);
text!(
    /// A duration, or `None`.
    DurationOrNone,
    "^(None|([0-9]{1,5}(h|m|s|ms)){1,4})$",
    28
);
text!(
    /// A duration, or the empty text.
    DurationOrEmpty,
    "^([0-9]{1,5}(h|m|s|ms)){0,4}$",
    28
);
text!(
    /// A size such as `64Mi`.
    BytesText,
    bytes::PATTERN,
    14
);
text!(
    /// A size, or the empty text.
    BytesOrEmpty,
    bytes::PATTERN_OR_EMPTY,
    14
);
text!(
    /// The name of a Kafka topic.
    TopicName,
    words::TOPIC_NAME,
    249
);
text!(
    /// A name in the object: of a route, an output, a handler.
    LocalName,
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    63
);
text!(
    /// The name of a Kubernetes object.
    ObjectName,
    "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
    253
);
text!(
    /// A key of a Secret or ConfigMap.
    DataKey,
    "^[a-zA-Z0-9._-]{1,253}$",
    253
);
text!(
    /// Host and port of a server.
    HostPort,
    words::HOST_PORT,
    260
);
text!(
    /// An `http` or `https` URL without a user.
    HttpUrl,
    words::HTTP_URL,
    2048
);

/// Settings of Kafka by their own names.
pub(crate) fn settings_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 1024}
    })
}
