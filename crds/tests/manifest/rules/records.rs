//! Rules of what becomes of a record: key, retries, the end of its road.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("spec.key", "set header together with from: Header")
            .accepts("key: {from: Header, header: customer}")
            .accepts("key: {nullKey: Ordered}")
            .refuses("key: {from: Header}")
            .refuses("key: {header: customer}"),
        case("spec.key", "set jsonPointer together with from: JSONPointer")
            .accepts("{decode: {format: JSON}, key: {from: JSONPointer, jsonPointer: /customer/id}}")
            .refuses("{decode: {format: JSON}, key: {from: JSONPointer}}")
            .refuses("key: {jsonPointer: /customer/id}"),
        case("spec", "key.from: JSONPointer needs a JSON value")
            .accepts("{decode: {format: Streamback}, key: {from: JSONPointer, jsonPointer: /id}}")
            .refuses("key: {from: JSONPointer, jsonPointer: /id}")
            .refuses("{decode: {format: String}, key: {from: JSONPointer, jsonPointer: /id}}"),
        case("spec.retry", "initialDelay must not be above maxDelay")
            .accepts("retry: {initialDelay: 30s}")
            .refuses("retry: {initialDelay: 31s}")
            .refuses("retry: {maxDelay: 99ms}"),
        case("spec.retry.initialDelay", "must be between 0s and 24h").bounds(
            "retry: {initialDelay: {}, maxDelay: 168h}",
            &["0s", "24h"],
            &["24h1ms"],
        ),
        case("spec.retry.maxDelay", "must be between 0s and 168h").bounds(
            "retry: {maxDelay: {}}",
            &["100ms", "168h"],
            &["168h1ms"],
        ),
    ];
    cases.extend(["onExhausted", "onUndecodable", "onUnknown"].into_iter().flat_map(ends));
    cases
}

/// The end of the road, the same for each of the three.
fn ends(field: &str) -> [Case; 4] {
    let at = format!("spec.{field}");
    let spec = |text: &str| format!("{field}: {text}");
    [
        case(at.as_str(), "name the topic: add deadLetter.topic")
            .accepts(spec("{action: DeadLetter, deadLetter: {topic: dead}}"))
            .accepts(spec("{}"))
            .accepts(spec("{action: Stop}"))
            .refuses(spec("{action: DeadLetter}")),
        case(at.as_str(), "remove deadLetter, or set action: DeadLetter")
            .accepts(spec("{action: DeadLetter, deadLetter: {topic: dead}}"))
            .refuses(spec("{action: Skip, deadLetter: {topic: dead}}")),
        case(at.as_str(), "remove park, or set action: Park")
            .accepts(spec("{action: Park, park: {blocksKey: true}}"))
            .refuses(spec("{action: Skip, park: {}}"))
            .refuses(spec("{action: DeadLetter, deadLetter: {topic: dead}, park: {}}")),
        loops(field),
    ]
}

/// Dead letters that would be read again.
fn loops(field: &str) -> Case {
    let says = match field {
        "onExhausted" => "onExhausted.deadLetter would be read again",
        "onUndecodable" => "onUndecodable.deadLetter would be read again",
        _ => "onUnknown.deadLetter would be read again",
    };
    let to = |topic: &str| format!("{field}: {{action: DeadLetter, deadLetter: {{topic: {topic}}}}}");
    case("spec", says)
        .accepts(to("dead"))
        .refuses(to("orders"))
        .refuses(format!("source: {{kafka: null, embedded: {{topics: [orders]}}}}\n{}", to("orders")))
}
