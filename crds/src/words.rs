//! What the patterns of the schema mean, for a person who wrote something else. The API server can show the pattern only.

/// Each pattern, and what it asks for.
const WORDS: [(&str, &str); 21] = [
    ("^([0-9]{1,5}(h|m|s|ms)){1,4}$", "a duration such as 500ms, 30s or 1m30s"),
    ("^([0-9]{1,5}(h|m|s|ms)){0,4}$", "a duration such as 30s or 1m30s, or nothing"),
    ("^(None|([0-9]{1,5}(h|m|s|ms)){1,4})$", "a duration such as 30s or 1m30s, or None"),
    ("^[0-9]{1,12}(k|M|G|T|Ki|Mi|Gi|Ti)?$", "a whole number of bytes such as 1048576, 64Mi or 1G"),
    ("^([0-9]{1,12}(k|M|G|T|Ki|Mi|Gi|Ti)?)?$", "a whole number of bytes such as 64Mi or 1G, or nothing"),
    (TOPIC_NAME, "letters, digits, dots, dashes and underscores, at most 249, and not . or .."),
    ("^[a-zA-Z0-9._-]+$", "letters, digits, dots, dashes and underscores, such as shop.orders"),
    ("^[a-zA-Z0-9._-]{1,253}$", "letters, digits, dots, dashes and underscores, such as ca.crt"),
    (
        "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        "lower-case letters, digits, dots and dashes, such as kafka-ca",
    ),
    (
        "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "lower-case letters, digits and dashes, such as audit-log, at most 63",
    ),
    ("^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$", "lower-case letters, digits and dashes, or nothing"),
    (HOST_PORT, "host and port, such as kafka:9092"),
    (HTTP_URL, "a URL such as http://orders/ or https://orders.shop:8443/records, without a user"),
    ("^(https?://[^\\s@]+)?$", "a URL such as http://collector:4317, or nothing"),
    ("^(/[a-zA-Z0-9._-]+)+$", "a path such as /keyweir/shop"),
    ("^/[^\\s]*$", "a path that begins with / and holds no blanks"),
    ("^(/[^/\\s]+)+$", "a path such as /shop/settings: no blanks, and no / at its end or twice in a row"),
    ("^(/([^~]|~[01])*)*$", "a JSON pointer such as /customer/id"),
    ("^([0-9]{1,4}|(100|[0-9]{1,2})%)$", "a number or a part such as 25%"),
    (QUANTITY, "an amount such as 200m, 2, 128Mi or 1Gi"),
    (NAME, "lower-case letters, digits, dots and dashes, such as orders or shop.orders"),
];

/// The name of a Kafka topic. `.` and `..` are none.
pub(crate) const TOPIC_NAME: &str =
    r"^([a-zA-Z0-9_-]|[a-zA-Z0-9_-][a-zA-Z0-9._-]|\.[a-zA-Z0-9_-]|[a-zA-Z0-9._-]{3,249})$";

/// Host and port of a server.
pub(crate) const HOST_PORT: &str = r"^(\[[0-9a-fA-F:.]{2,45}\]|[a-zA-Z0-9._-]{1,253}):[0-9]{1,5}$";

/// An `http` or `https` URL without a user.
pub(crate) const HTTP_URL: &str =
    r"^https?://(\[[0-9a-fA-F:.]{2,45}\]|[^\s@/?#:\[\]]+)(:[0-9]{1,5})?(/[^\s]*)?$";

/// An amount of a resource, as Kubernetes writes it.
pub(crate) const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// The name of an object itself. It stands in no schema: the API server knows it by heart.
pub const NAME: &str = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";

/// What a pattern asks for, to be read after "want".
pub fn of(pattern: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == pattern).map(|(_, words)| *words)
}
