//! One word per thing: the public names of contract, core, engine, crds and render use the words of the
//! house. Words of Kafka, Kubernetes, CloudEvents, HTTP and Rust keep theirs: those few are listed with
//! the reason.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

use std::collections::BTreeSet;

use keyweir_e2e::source::{Token, is_word, rust_files, tokens};

/// Not this word, but that one.
const WORDS: [(&str, &str); 25] = [
    ("message", "record"),
    ("event", "record"),
    ("result", "outcome"),
    ("response", "reply"),
    ("callback", "reply"),
    ("slice", "shard"),
    ("bucket", "shard, or slot for a hash range"),
    ("vnode", "slot"),
    ("group", "lane"),
    ("watermark", "frontier, or high mark and low mark for the budget"),
    ("tracker", "ledger"),
    ("epoch", "fence"),
    ("assignment", "placement"),
    ("ring", "placement"),
    ("node", "member"),
    ("instance", "member"),
    ("flush", "drain"),
    ("quiesce", "drain"),
    ("expected", "desired"),
    ("actual", "applied"),
    ("manager", "a noun for what it does"),
    ("helper", "a noun for what it does"),
    ("util", "a noun for what it does"),
    ("cfg", "config, written out"),
    ("msg", "record"),
];

/// A name that keeps a forbidden word: part of a path, the name (`*` for all), and why.
const KEPT: &[(&str, &str, &str)] = &[
    ("crds/", "group", "Kafka's consumer group, and the API group of Kubernetes"),
    ("crds/", "GROUP", "the API group of Kubernetes"),
    ("crds/src/pod.rs", "node_selector", "Kubernetes' own field"),
    ("crds/", "message", "the field of a Kubernetes condition"),
    ("crds/", "max_response_bytes", "HTTP's word, in the manifest"),
    ("crds/", "event_log", "the log that the oracle reads is called so"),
    ("worker/engine/src/ports/observer.rs", "RecordEvent", "one line of that log"),
    ("worker/engine/src/ports/observer.rs", "ShardEvent", "one line of that log"),
    ("worker/engine/src/pump/stats.rs", "buckets", "Prometheus' word for the steps of a histogram"),
    ("worker/core/src/", "epoch", "one half of a fence: the epoch of the object"),
    ("worker/engine/src/ownership/", "epoch", "the same, as the object's key holds it"),
];

const ROOMS: [&str; 5] =
    ["crds/src/", "crds/contract/src/", "crds/render/src/", "worker/core/src/", "worker/engine/src/"];

/// A public name and its line.
#[derive(Debug, PartialEq)]
struct Name {
    text: String,
    line: usize,
}

/// Public items and fields, and the variants and fields of public enums. A trait's methods are as public
/// as the trait.
fn public_names(tokens: &[Token]) -> Vec<Name> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "pub" {
            at = after_visibility(tokens, at);
            let keyword = tokens.get(at).map_or("", |token| token.text.as_str());
            match keyword {
                "enum" => variants(&tokens[at..], &mut names),
                "trait" => methods(&tokens[at..], &mut names),
                _ => {}
            }
            names.extend(item_name(&tokens[at..]));
        }
        at += 1;
    }
    names
}

fn after_visibility(tokens: &[Token], at: usize) -> usize {
    let restricted = tokens.get(at + 1).is_some_and(|token| token.text == "(");
    let close = tokens[at..].iter().position(|token| token.text == ")");
    match close {
        Some(close) if restricted => at + close + 1,
        _ => at + 1,
    }
}

/// `struct Name`, `const fn name`, `mod name`, or the field `name:`.
fn item_name(tokens: &[Token]) -> Option<Name> {
    const INTRODUCES: [&str; 9] =
        ["struct", "enum", "trait", "type", "fn", "const", "static", "mod", "union"];
    const BEFORE: [&str; 4] = ["async", "unsafe", "const", "extern"];
    let mut rest = tokens;
    while let [first, second, ..] = rest
        && BEFORE.contains(&first.text.as_str())
        && (INTRODUCES.contains(&second.text.as_str()) || BEFORE.contains(&second.text.as_str()))
    {
        rest = &rest[1..];
    }
    match rest {
        [first, name, ..] if INTRODUCES.contains(&first.text.as_str()) && is_word(name) => Some(named(name)),
        [name, colon, ..] if is_word(name) && colon.text == ":" => Some(named(name)),
        _ => None,
    }
}

fn named(token: &Token) -> Name {
    Name { text: token.text.clone(), line: token.line }
}

/// Inside `enum Name { … }`: a word after `{` or `,` (attributes aside), at any depth of braces.
fn variants(tokens: &[Token], names: &mut Vec<Name>) {
    let mut brackets = 0usize;
    let mut depth = 0usize;
    let mut awaited = false;
    for token in tokens {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                awaited = true;
            }
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            ";" if depth == 0 => return,
            "[" | "(" | "<" => brackets += 1,
            "]" | ")" | ">" => brackets = brackets.saturating_sub(1),
            "," if brackets == 0 => awaited = true,
            _ if awaited && brackets == 0 && is_word(token) => {
                names.push(named(token));
                awaited = false;
            }
            _ => {}
        }
    }
}

fn methods(tokens: &[Token], names: &mut Vec<Name>) {
    let mut depth = 0usize;
    for pair in tokens.windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return,
            "}" => depth -= 1,
            "fn" | "type" | "const" if depth == 1 && is_word(&pair[1]) => names.push(named(&pair[1])),
            _ => {}
        }
    }
}

/// `max_response_bytes` and `MaxResponseBytes` as `max`, `response`, `bytes`; plurals lose their s.
fn words(name: &str) -> BTreeSet<String> {
    let mut spaced = String::new();
    let mut before = '_';
    for letter in name.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            spaced.push('_');
        }
        spaced.push(letter.to_ascii_lowercase());
        before = letter;
    }
    let each = spaced.split('_').filter(|word| !word.is_empty());
    each.flat_map(|word| [word.to_owned(), word.strip_suffix('s').unwrap_or(word).to_owned()]).collect()
}

fn kept(path: &str, name: &str) -> bool {
    KEPT.iter().any(|(part, kept, _)| path.contains(part) && (*kept == name || *kept == "*"))
}

#[test]
fn public_names_use_the_words_of_the_house() {
    let mut violations = Vec::new();
    for file in rust_files().unwrap() {
        if file.is_test() || !ROOMS.iter().any(|room| file.path.starts_with(room)) {
            continue;
        }
        for name in public_names(&file.tokens()) {
            let words = words(&name.text);
            for (wrong, right) in WORDS.iter().filter(|(wrong, _)| words.contains(*wrong)) {
                if !kept(&file.path, &name.text) {
                    violations.push(format!(
                        "{}:{} `{}`: not `{wrong}`, say {right}",
                        file.path, name.line, name.text
                    ));
                }
            }
        }
    }
    assert!(
        violations.is_empty(),
        "names outside the vocabulary (or list them in KEPT of this test, with the reason):\n  {}",
        violations.join("\n  ")
    );
}

#[test]
fn public_names_are_found_where_they_are() {
    let text = "pub struct A { pub b: u8, c: u8 } pub(crate) const fn d() {} struct E;
        pub enum F<T> { #[error(\"g\")] H { i: Vec<(u8, T)>, j: u8 }, K(u8, u8), L = 1 }
        pub trait M { fn n(&self) { let o: u8 = 1; } type P; } pub mod q; pub async fn r() {}";
    let found: Vec<String> = public_names(&tokens(text)).into_iter().map(|name| name.text).collect();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted.concat(), "AFHKLMPbdijnqr", "{found:?}");
    let split: Vec<String> = words("MaxResponsesPerKey_x").into_iter().collect();
    assert_eq!(split, ["key", "max", "per", "response", "responses", "x"]);
}
